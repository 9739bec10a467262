package types

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// classesByAssertion returns the classes of the value itself.
func classesByAssertion(err error) []string {
	var got []string
	add := func(name string, ok bool) {
		if ok {
			got = append(got, name)
		}
	}
	_, ok := err.(MaskableError)
	add("Maskable", ok)
	_, ok = err.(RetryError)
	add("Retry", ok)
	_, ok = err.(BadRequestError)
	add("BadRequest", ok)
	_, ok = err.(NotFoundError)
	add("NotFound", ok)
	_, ok = err.(ForbiddenError)
	add("Forbidden", ok)
	_, ok = err.(NoServiceError)
	add("NoService", ok)
	_, ok = err.(TimeoutError)
	add("Timeout", ok)
	_, ok = err.(NotImplementedError)
	add("NotImplemented", ok)
	_, ok = err.(InternalError)
	add("Internal", ok)
	return got
}

// classesByAs returns the classes that errors.As finds.
func classesByAs(err error) []string {
	var got []string
	for _, c := range []struct {
		name   string
		target any
	}{
		{"Maskable", new(MaskableError)},
		{"Retry", new(RetryError)},
		{"BadRequest", new(BadRequestError)},
		{"NotFound", new(NotFoundError)},
		{"Forbidden", new(ForbiddenError)},
		{"NoService", new(NoServiceError)},
		{"Timeout", new(TimeoutError)},
		{"NotImplemented", new(NotImplementedError)},
		{"Internal", new(InternalError)},
	} {
		if errors.As(err, c.target) {
			got = append(got, c.name)
		}
	}
	return got
}

func constructors() map[string]func(string, ...any) error {
	return map[string]func(string, ...any) error{
		"BadRequest":        BadRequestErrorf,
		"NotFound":          NotFoundErrorf,
		"Forbidden":         ForbiddenErrorf,
		"NoService":         NoServiceErrorf,
		"NotImplemented":    NotImplementedErrorf,
		"Timeout":           TimeoutErrorf,
		"Internal":          InternalErrorf,
		"Maskable Internal": InternalMaskableErrorf,
		"Retry":             RetryErrorf,
	}
}

func TestErrorClasses(t *testing.T) {
	cause := &fs.PathError{Op: "open", Path: "/x", Err: os.ErrNotExist}
	for name, newErr := range constructors() {
		t.Run(name, func(t *testing.T) {
			var want []string
			switch name {
			case "Maskable Internal":
				want = []string{"Maskable", "Internal"}
			default:
				want = []string{name}
			}
			err := newErr("network %s: %w", "n1", cause)
			for _, err := range []error{err, newErr("plain"), newErr("two: %w, %w", cause, errors.New("x"))} {
				if diff := cmp.Diff(want, classesByAssertion(err)); diff != "" {
					t.Errorf("%v by assertion (-want +got):\n%s", err, diff)
				}
				if diff := cmp.Diff(want, classesByAs(err)); diff != "" {
					t.Errorf("%v by errors.As (-want +got):\n%s", err, diff)
				}
				if diff := cmp.Diff(want, classesByAs(fmt.Errorf("wrapped: %w", err))); diff != "" {
					t.Errorf("%v by errors.As through a wrapper (-want +got):\n%s", err, diff)
				}
			}
			if err.Error() != "network n1: open /x: file does not exist" {
				t.Errorf("text %q", err)
			}
			var path *fs.PathError
			if !errors.Is(err, os.ErrNotExist) || !errors.Is(err, cause) || !errors.As(err, &path) || path != cause {
				t.Error("the cause is lost")
			}
			if got, ok := errors.AsType[*fs.PathError](err); !ok || got != cause {
				t.Error("errors.AsType does not find the cause")
			}
			if errors.Is(err, os.ErrExist) || errors.As(err, new(*os.SyscallError)) {
				t.Error("a cause is found that is not there")
			}
			if got := newErr("100%d of %s %!").Error(); got != "100%d of %s %!" {
				t.Errorf("without parameters the text has become %q", got)
			}
			if a, b := newErr("same"), newErr("same"); errors.Is(a, b) || !errors.Is(fmt.Errorf("x: %w", a), a) {
				t.Error("identity of a value is not kept")
			}
		})
	}
}

// errClient is a class error of a client's own type.
type errClient string

func (e errClient) Error() string { return string(e) }
func (errClient) NotFound()       {}

func TestTheLastClassCounts(t *testing.T) {
	for name, newErr := range constructors() {
		t.Run(name, func(t *testing.T) {
			for inner, newInner := range constructors() {
				err := newErr("outer: %w", fmt.Errorf("middle: %w", newInner("inner")))
				if diff := cmp.Diff(classesByAssertion(err), classesByAs(err)); diff != "" {
					t.Errorf("around %s (-assertion +errors.As):\n%s", inner, diff)
				}
			}
			own := errClient("mine")
			err := newErr("outer: %w", own)
			var got errClient
			if !errors.Is(err, own) || !errors.As(err, &got) || got != own {
				t.Error("a cause with a class of its own is lost")
			}
			if name != "NotFound" && slices.Contains(classesByAs(err), "NotFound") {
				t.Error("the class of the cause shows through")
			}
		})
	}
}
