package scenario_test

import (
	"testing"

	"golang.org/x/sys/unix"
)

// readOnly makes the kernel's settings read-only until the function returned is
// called, as they are in many containers.
func readOnly(t *testing.T) (end func()) {
	t.Helper()
	const dir = "/proc/sys"
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}
}

func TestReadOnlySettings(t *testing.T) {
	onEach(t, "read-only settings of the kernel are a clear error, and all is undone", testReadOnlySettings)
}

func testReadOnlySettings(t *testing.T, on backend) {
	h := newHost(t, on.option())
	before, store := machine(t), h.store()
	end := readOnly(t)
	_, err := h.tryNetwork(1)
	end()
	failed(t, err, "Forbidden", "net1", "br1", "/proc/sys", "read-only")
	same(t, "the machine", before, func() string { return machine(t) })
	same(t, "the store", store, h.store)
	n := h.network(1)
	h.container("c1", nil, n)
	before, store = machine(t), h.store()
	end = readOnly(t)
	_, err = h.tryContainer("c2", both(nil, 7001, 0), n)
	end()
	failed(t, err, "Forbidden", "c2", "/proc/sys", "read-only")
	same(t, "the machine", before, func() string { return machine(t) })
	same(t, "the store", store, h.store)
	c2 := h.container("c2", both(nil, 7001, 0), n)
	h.visit(visit{who: "lan", from: h.lan, to: at(hostV4, 7001), want: c2.name})
}
