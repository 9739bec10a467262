// Package step numbers every call that changes the kernel, a file or the
// store, so that tests can fail or kill the process at each of them.
//
// A [Counter] is safe for concurrent use; a nil one is valid, counts nothing
// and costs a comparison. Numbers are those of one process and start at 1;
// concurrent operations take them in no fixed order.
package step

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
)

// ErrInjected is wrapped by every error that a "fail:N" counter returns.
var ErrInjected = errors.New("injected failure")

// A Counter numbers calls. The zero value counts and never fails.
type Counter struct {
	n    atomic.Int64
	hook func(n int, name string) error
}

// New returns a Counter that calls hook with the number of each call, from 1,
// and its name. A nil hook only counts. The hook must be safe for concurrent
// use.
func New(hook func(n int, name string) error) *Counter {
	return &Counter{hook: hook}
}

// Next announces the call that name stands for, such as "store: commit". It is
// called before that call, which must not be made when Next returns an error.
func (c *Counter) Next(name string) error {
	if c == nil {
		return nil
	}
	n := int(c.n.Add(1))
	if c.hook == nil {
		return nil
	}
	return c.hook(n, name)
}

// Count returns how many calls have been announced.
func (c *Counter) Count() int {
	if c == nil {
		return 0
	}
	return int(c.n.Load())
}

// FromEnv returns the Counter that value asks for:
//
//	""           none: the Counter is nil
//	"fail:17"    the 17th call fails with an error that wraps ErrInjected
//	"kill:17"    the process kills itself before the 17th call
//	"trace:PATH" the name of each call is appended to the file, one a line
func FromEnv(value string) (*Counter, error) {
	if value == "" {
		return nil, nil
	}
	verb, arg, _ := strings.Cut(value, ":")
	switch verb {
	case "fail", "kill":
		at, err := strconv.Atoi(arg)
		if err != nil || at < 1 {
			return nil, fmt.Errorf("step setting %q: want a call number from 1 after %q", value, verb+":")
		}
		if verb == "kill" {
			return New(killAt(at)), nil
		}
		return New(failAt(at)), nil
	case "trace":
		f, err := os.OpenFile(arg, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, fmt.Errorf("step setting %q: %w", value, err)
		}
		return New(traceTo(f)), nil
	}
	return nil, fmt.Errorf("step setting %q: want fail:N, kill:N or trace:PATH", value)
}

func failAt(at int) func(int, string) error {
	return func(n int, name string) error {
		if n != at {
			return nil
		}
		return fmt.Errorf("call %d, %s: %w", n, name, ErrInjected)
	}
}

func killAt(at int) func(int, string) error {
	return func(n int, _ string) error {
		if n == at {
			killSelf()
		}
		return nil
	}
}

// traceTo writes each line in one call on a file opened for appending, so
// lines of concurrent calls do not mix. The file stays open until the process
// ends, as the counter does.
func traceTo(f *os.File) func(int, string) error {
	return func(_ int, name string) error {
		_, err := f.WriteString(name + "\n")
		return err
	}
}
