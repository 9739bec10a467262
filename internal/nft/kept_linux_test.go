package nft_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/fwtest"
	"github.com/libnetwork/libnetwork/internal/nft"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// keeper keeps sockets as a service manager does.
type keeper map[string]int

func (k keeper) Kept(name string) (fd int, ok bool) {
	fd, ok = k[name]
	return fd, ok
}

func (k keeper) Keep(name string, fd int) error {
	fd, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = k.drop(name)
		k[name] = fd
	}
	return err
}

func (k keeper) drop(name string) error {
	fd, ok := k[name]
	if !ok {
		return nil
	}
	delete(k, name)
	return unix.Close(fd)
}

// TestKeptSocket has the socket that owns the tables live on between two processes.
func TestKeptSocket(t *testing.T) {
	nstest.Run(t, func() {
		k := keeper{}
		f := open(t, nft.Config{Sockets: k})
		if !f.HasOwner() {
			t.Skip("this kernel has no table flags owner and persist")
		}
		want := fwtest.Some()
		if err := f.Apply(t.Context(), want, nft.Change{}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			nstest.Command(t, "nft", "flush", "ruleset")
			f = open(t, nft.Config{Sockets: k})
			nstest.Command(t, "nft", "flush", "ruleset")
			before := generation(t, f)
			reconcile(t, f, want, nft.Guard{}, false)
			if after := generation(t, f); after != before {
				t.Errorf("a start has written: generation %d, then %d", before, after)
			}
			p := nft.Change{Ports: fwtest.Both("0.0.0.0", 1, 1, "172.20.1.2", 1)}
			if err := errors.Join(f.Apply(t.Context(), p, nft.Change{}), f.Apply(t.Context(), nft.Change{}, p)); err != nil {
				t.Fatal(err)
			}
		}
		// What is kept may be of another namespace, or no socket at all.
		nstest.Run(t, func() {
			other := open(t, nft.Config{Sockets: k})
			if err := other.Apply(t.Context(), want, nft.Change{}); err != nil {
				t.Error(err)
			}
			reconcile(t, other, want, nft.Guard{}, false)
			if err := other.Close(); err != nil {
				t.Error(err)
			}
		})
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Close(), k.Keep(nft.DefaultTable, int(null.Fd())), null.Close()); err != nil {
			t.Fatal(err)
		}
		f = open(t, nft.Config{Sockets: k})
		reconcile(t, f, want, nft.Guard{}, false)
		if err := f.Apply(t.Context(), nft.Change{}, want); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Close(), k.drop(nft.DefaultTable)); err != nil {
			t.Fatal(err)
		}
	})
}
