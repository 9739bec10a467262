//go:build !unix

package main

import (
	"context"
	"os"
	"os/signal"
)

// signals returns a context that ends with an interrupt.
func signals() (ctx context.Context, reload <-chan os.Signal, listen, stop func()) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	return ctx, nil, func() {}, cancel
}
