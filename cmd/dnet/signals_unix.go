//go:build unix

package main

import (
	"context"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

// signals returns a context that ends with INT, TERM and QUIT, and a channel that
// tells of HUP. USR1 writes the stacks of all goroutines to standard error.
func signals() (ctx context.Context, reload <-chan os.Signal, stop func()) {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	usr := make(chan os.Signal, 1)
	signal.Notify(usr, syscall.SIGUSR1)
	done := make(chan struct{})
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
	return ctx, hup, func() {
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
