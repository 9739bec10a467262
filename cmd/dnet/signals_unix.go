//go:build unix

package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
)

// signals returns a context that ends with those of INT, TERM and QUIT that were
// not ignored when the program started: a shell starts jobs in the background so.
// What else a daemon listens to begins with a call of listen: HUP is told on
// reload, and USR1 writes the stacks of all goroutines to standard error. Other
// commands leave both to the system, and dnet run to its command.
func signals() (ctx context.Context, reload <-chan os.Signal, listen, stop func()) {
	ends := slices.DeleteFunc([]os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT}, signal.Ignored)
	ctx, cancel := context.WithCancel(context.Background())
	if len(ends) > 0 { // none would mean all
		ctx, cancel = signal.NotifyContext(ctx, ends...)
	}
	hup, usr := make(chan os.Signal, 1), make(chan os.Signal, 1)
	done := make(chan struct{})
	listen = func() {
		signal.Notify(hup, syscall.SIGHUP)
		signal.Notify(usr, syscall.SIGUSR1)
		go func() {
			for {
				select {
				case <-done:
					return
				case <-usr:
					_, _ = os.Stderr.Write(stacks())
				}
			}
		}()
	}
	return ctx, hup, listen, func() {
		cancel()
		signal.Stop(hup)
		signal.Stop(usr)
		close(done)
	}
}

// stacks returns the stacks of all goroutines.
func stacks() []byte {
	const most = 64 << 20
	for n := 1 << 16; ; n *= 2 {
		buf := make([]byte, n)
		if got := runtime.Stack(buf, true); got < n || n >= most {
			return buf[:got]
		}
	}
}
