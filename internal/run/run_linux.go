package run

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/libnetwork/libnetwork/types"
)

const (
	// grace is how long a command may take to end after SIGTERM before it is
	// killed, when the context has ended.
	grace = 10 * time.Second
	// removeTime is how long taking the container away may take.
	removeTime = 10 * time.Second
)

// Run runs a command in a container of its own and returns its exit code, 128
// and the number of the signal if a signal ended it. With an error and one of
// the Code constants there was no command; an error beside any other code says
// that the container could not be removed. When ctx ends the command is told to
// terminate. If this process dies after Create returned, the command lives on.
func Run(ctx context.Context, s Spec) (int, error) {
	c, err := start(ctx, s.Command)
	if err != nil {
		return CodeFailed, err
	}
	defer c.close()
	made, err := s.Create(ctx, c.cmd.Process.Pid)
	if err != nil {
		return c.abandon(err)
	}
	code, err := c.become(order{Container: made})
	return code, errors.Join(err, remove(ctx, s.Remove))
}

// Exec runs a command in a container that is there; see Run for what it returns.
func Exec(ctx context.Context, s ExecSpec) (int, error) {
	c, err := start(ctx, s.Command)
	if err != nil {
		return CodeFailed, err
	}
	defer c.close()
	return c.become(order{Container: s.Container, Owner: s.Owner})
}

func remove(ctx context.Context, f func(context.Context) error) error {
	if f == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTime)
	defer cancel()
	err := f(ctx)
	if err == nil || errors.As(err, new(types.NotFoundError)) {
		return nil
	}
	return fmt.Errorf("remove the container of the command: %w", err)
}

// An order tells the child where to go.
type order struct {
	Container Container `json:"container"`
	Owner     Process   `json:"owner"`
}

// An answer of the child says that it is in the container, or, with a text, that
// it does not become the command.
type answer struct {
	// Thread is the id of the thread that is in the container.
	Thread int    `json:"thread,omitempty"`
	Code   int    `json:"code,omitempty"`
	Text   string `json:"text,omitempty"`
}

// become sends the child on its way and waits for the end of the command.
func (c *child) become(o order) (int, error) {
	in, out := json.NewDecoder(c.sock), json.NewEncoder(c.sock)
	if err := out.Encode(o); err != nil {
		// The child has ended, or it is of no use.
		_ = c.cmd.Process.Kill()
	}
	var a answer
	err := in.Decode(&a)
	if err == nil && a.Text == "" {
		if o.Owner.PID == 0 {
			c.guard(a.Thread, o.Container)
		}
		_ = out.Encode(struct{}{})
		// The socket closes when the child becomes the command, or dies.
		err = in.Decode(&a)
	}
	<-c.ended
	if err == nil && a.Text != "" {
		return a.Code, errors.New(a.Text)
	}
	return c.code(), nil
}

// abandon ends a child that was not given a container. If a signal has ended it
// already, that is what counts.
func (c *child) abandon(err error) (int, error) {
	select {
	case <-c.ended:
		if code := c.code(); code > codeSignal {
			return code, nil
		}
	default:
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
	return CodeFailed, err
}
