// Package sysctl reads and writes the settings of the kernel below /proc/sys.
//
// A setting is named by the components of its path, so a link whose name has a
// dot needs no quoting: Read("net", "ipv4", "conf", "eth0.5", "forwarding").
// Settings below "net" are those of the calling thread's network namespace, or
// of another one with [ReadIn] and [WriteIn].
//
// All functions are safe for concurrent use. Nothing is cached. On systems
// other than Linux there are no settings, which is a NotFound error.
package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

const root = "/proc/sys"

// An Enterer runs functions inside a network namespace.
type Enterer interface {
	Do(fn func() error) error
}

// Read returns the value of a setting without the spaces around it. The error
// is of class NotFound where the kernel has no such setting.
func Read(path ...string) (string, error) {
	file, err := locate(path)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", classify("read", path, err)
	}
	return strings.TrimSpace(string(b)), nil
}

// Write changes a setting unless it has that value already. The error is of
// class NotFound where the kernel has no such setting, and Forbidden where it
// may not be changed.
func Write(steps *step.Counter, value string, path ...string) error {
	old, err := Read(path...)
	if err == nil && old == value {
		return nil
	}
	if err := steps.Next("sysctl: " + name(path) + "=" + value); err != nil {
		return err
	}
	file, err := locate(path)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return classify("set", path, err)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return classify("set", path, err)
	}
	return nil
}

// Writable says whether a setting is there and may be changed.
func Writable(path ...string) bool {
	file, err := locate(path)
	if err != nil {
		return false
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	return err == nil && f.Close() == nil
}

// ReadIn is [Read] inside ns.
func ReadIn(ns Enterer, path ...string) (value string, err error) {
	err = ns.Do(func() (err error) {
		value, err = Read(path...)
		return err
	})
	return value, err
}

// WriteIn is [Write] inside ns.
func WriteIn(ns Enterer, steps *step.Counter, value string, path ...string) error {
	return ns.Do(func() error { return Write(steps, value, path...) })
}

// Change is a setting that was changed.
type Change struct {
	Path     []string
	Old, New string
}

// String is "net/ipv4/ip_forward: 0 -> 1".
func (c Change) String() string { return name(c.Path) + ": " + c.Old + " -> " + c.New }

// EnableForwarding makes the host forward packets of one family, and returns
// what it changed for that, also where it fails half-way.
//
// An interface that forwards IPv6 ignores router advertisements unless
// accept_ra is 2, and a host that has its own default route from one would lose
// it. So before anything else accept_ra 1 becomes 2 for interfaces to come and
// for each that is there.
func EnableForwarding(steps *step.Counter, ipv6 bool) ([]Change, error) {
	unlock, err := LockForwarding()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if !ipv6 {
		return change(steps, nil, "1", "net", "ipv4", "ip_forward")
	}
	switch v, err := Read("net", "ipv6", "conf", "all", "forwarding"); {
	case err != nil:
		return nil, err
	case v == "1":
		return nil, nil
	}
	names, err := acceptingRA()
	if err != nil {
		return nil, err
	}
	var done []Change
	for _, n := range names {
		done, err = change(steps, done, "2", acceptRA(n)...)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return done, err
		}
	}
	return change(steps, done, "1", "net", "ipv6", "conf", "all", "forwarding")
}

// acceptingRA returns the links, and "default", whose accept_ra is 1, and that do not refuse what
// routers say as they forward themselves: those for which forwarding of IPv6 raises it to 2.
func acceptingRA() ([]string, error) {
	links, err := os.ReadDir(filepath.Join(root, "net", "ipv6", "conf"))
	if err != nil {
		return nil, classify("list", []string{"net", "ipv6", "conf"}, err)
	}
	var names []string
	for _, l := range links {
		// A link that has gone meanwhile takes none.
		v, err := Read(acceptRA(l.Name())...)
		if err != nil || v != "1" || l.Name() == "all" {
			continue
		}
		if v, err := Read("net", "ipv6", "conf", l.Name(), "forwarding"); err == nil && v == "0" {
			names = append(names, l.Name())
		}
	}
	return names, nil
}

// LockForwarding waits until nobody else who does so turns forwarding on or off. Of two who write
// it at the same time, while the kernel is busy with links, both may succeed and no link forward
// anything: each takes what the other tries for what there was (Linux 6.18,
// devinet_sysctl_forward).
func LockForwarding() (unlock func(), err error) { return lock("net", "ipv4", "ip_forward") }

func acceptRA(link string) []string { return []string{"net", "ipv6", "conf", link, "accept_ra"} }

// change writes a setting and appends what changed to done.
func change(steps *step.Counter, done []Change, value string, path ...string) ([]Change, error) {
	old, err := Read(path...)
	if err != nil || old == value {
		return done, err
	}
	if err := Write(steps, value, path...); err != nil {
		return done, err
	}
	return append(done, Change{Path: path, Old: old, New: value}), nil
}

func name(path []string) string { return strings.Join(path, "/") }

func locate(path []string) (string, error) {
	for _, p := range path {
		if p == "" || p == "." || p == ".." || strings.ContainsAny(p, "/\x00") {
			return "", types.BadRequestErrorf("setting %q: bad component %q", name(path), p)
		}
	}
	if len(path) == 0 {
		return "", types.BadRequestErrorf("setting without a name")
	}
	return filepath.Join(root, filepath.Join(path...)), nil
}

func classify(verb string, path []string, err error) error {
	// The path is named by us already.
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	text := fmt.Sprintf("%s %s", verb, name(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return types.NotFoundErrorf("%s: the kernel has no such setting: %w", text, err)
	case errors.Is(err, syscall.EROFS):
		return types.ForbiddenErrorf("%s: %w; mount /proc/sys writable", text, err)
	case errors.Is(err, fs.ErrPermission):
		return types.ForbiddenErrorf("%s: %w", text, err)
	case errors.Is(err, syscall.EINVAL):
		return types.BadRequestErrorf("%s: %w", text, err)
	default:
		return types.InternalErrorf("%s: %w", text, err)
	}
}
