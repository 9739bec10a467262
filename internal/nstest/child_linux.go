package nstest

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A Child is the program of the test, running once more.
type Child struct {
	Said string // its first line
	cmd  *exec.Cmd
	in   io.Closer
}

// StartChild runs the program of the test again, without its tests, as what these
// variables of the environment make of it. It returns when that has said a line. At the
// end of the test the child is killed, if it is still there.
func StartChild(t testing.TB, env ...string) *Child {
	t.Helper()
	c := &Child{cmd: exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^$")}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		c.in, err = c.cmd.StdinPipe()
	}
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if c.cmd.ProcessState == nil {
			_ = c.Kill()
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child says %q, %v", line, err)
	}
	c.Said = strings.TrimSpace(line)
	return c
}

// Stop closes the child's standard input and waits for its end.
func (c *Child) Stop() error { return errors.Join(c.in.Close(), c.cmd.Wait()) }

// Kill ends the child with SIGKILL and waits for its end.
func (c *Child) Kill() error {
	err := c.cmd.Process.Kill()
	_ = c.cmd.Wait() // killed
	return err
}
