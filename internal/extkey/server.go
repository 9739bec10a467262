package extkey

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/unixsock"
	"github.com/libnetwork/libnetwork/types"
)

// retryTime is how long the server waits when the system can give it no
// connection.
const retryTime = 100 * time.Millisecond

// Config says for whom a Server listens.
type Config struct {
	// RunDir is the directory of the socket, ID the controller's id.
	RunDir, ID string
	// SetKey gives the sandbox of a container the network namespace of a path.
	SetKey func(ctx context.Context, containerID, path string) error
	Logger *slog.Logger // nil: slog.Default

	readTime time.Duration // 0: the constant
}

// Server serves hooks until it is closed.
type Server struct {
	cfg      Config
	listener net.Listener
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	slots    chan struct{} // one element for each connection

	closeOnce sync.Once
	closeErr  error
}

// Listen makes the socket, which replaces that of a controller that has died, and
// serves it. Its errors are of class BadRequest for a directory with too long a
// path, and Internal.
func Listen(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.readTime == 0 {
		cfg.readTime = readTime
	}
	path, err := SocketPath(cfg.RunDir, cfg.ID)
	if err != nil {
		return nil, err
	}
	sweep(ctx, cfg.RunDir, cfg.Logger)
	l, err := unixsock.Listen(ctx, path, func(path string) error { return os.Chmod(path, 0o600) })
	if err != nil {
		if errors.As(err, new(types.BadRequestError)) {
			return nil, err
		}
		return nil, types.InternalErrorf("listen for OCI hooks at %s: %w", path, err)
	}
	s := &Server{cfg: cfg, listener: l, slots: make(chan struct{}, MaxConns)}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.wg.Go(s.accept)
	return s, nil
}

// sweep removes the sockets that controllers have left who were killed: nobody
// listens at them. The run directory is ours alone.
func sweep(ctx context.Context, dir string, log *slog.Logger) {
	if err := unixsock.Sweep(ctx, dir); err != nil {
		log.Warn("remove sockets that were not made to the end", "directory", dir, "err", err)
	}
	paths, err := filepath.Glob(filepath.Join(dir, strings.Repeat("[0-9a-f]", idLength)+".sock"))
	if err != nil {
		log.Warn("look for sockets of controllers that have died", "directory", dir, "err", err)
	}
	for _, path := range paths {
		if !unixsock.Dead(ctx, path) {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			log.Warn("remove the socket of a controller that has died", "socket", path, "err", err)
		}
	}
}

// Path is where the socket is.
func (s *Server) Path() string { return s.listener.Addr().String() }

// Close removes the socket, breaks off what is being done, and returns when all
// hooks have their reply. A second call returns what the first did.
func (s *Server) Close() error {
	s.closeOnce.Do(func() {
		s.cancel()
		s.closeErr = s.listener.Close()
		s.wg.Wait()
	})
	return s.closeErr
}

func (s *Server) accept() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case s.slots <- struct{}{}:
		}
		c, err := s.listener.Accept()
		if err == nil {
			s.wg.Go(func() {
				s.serve(c)
				<-s.slots
			})
			continue
		}
		<-s.slots
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.cfg.Logger.Error("accept an OCI hook", "socket", s.Path(), "err", err)
		select {
		case <-s.ctx.Done():
		case <-time.After(retryTime):
		}
	}
}

// serve answers one hook and closes the connection.
func (s *Server) serve(c net.Conn) {
	defer c.Close()
	stop := context.AfterFunc(s.ctx, func() { _ = c.SetReadDeadline(time.Now()) })
	defer stop()
	reply := success
	if err := s.answer(c); errors.Is(err, io.EOF) {
		return // it has only asked whether anybody listens
	} else if err != nil {
		s.cfg.Logger.Warn("OCI hook", "socket", s.Path(), "err", err)
		reply = err.Error()
	}
	if err := c.SetWriteDeadline(time.Now().Add(readTime)); err != nil {
		return
	}
	if _, err := io.WriteString(c, reply[:min(len(reply), maxMessage)]); err != nil {
		s.cfg.Logger.Warn("the OCI hook has not waited for its reply", "socket", s.Path(), "reply", reply, "err", err)
	}
}

// answer reads a request and does what it asks.
func (s *Server) answer(c net.Conn) error {
	if uid, err := peer(c); err != nil {
		return types.InternalErrorf("who is there? %w", err)
	} else if uid != 0 && uid != os.Geteuid() {
		return types.ForbiddenErrorf("user %d may not give containers their network namespaces", uid)
	}
	if err := c.SetReadDeadline(time.Now().Add(s.cfg.readTime)); err != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return stopped()
	}
	req, err := decode(c)
	if s.ctx.Err() != nil {
		return stopped()
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, serveTime)
	defer cancel()
	return s.cfg.SetKey(ctx, req.ContainerID, req.Key)
}

func stopped() error { return types.NoServiceErrorf("the controller has been stopped") }
