package scenario_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/internal/nstest"
	"github.com/libnetwork/libnetwork/types"
)

// knocking opens a new connection again and again.
type knocking struct {
	visit
	mu    sync.Mutex // guards knocks
	tries []knock
}

// A knock is one connection: when it was begun, when it was answered, and what went
// wrong.
type knock struct {
	begun, over time.Time
	err         error
}

const (
	// knockPause is between the connections of one kind; with all kinds together there
	// is a new one every few ms.
	knockPause = 20 * time.Millisecond
	// knockPatience is as long as a connection takes whose first packets are dropped:
	// these are sent again after 1, 3 and 7 s.
	knockPatience = 20 * time.Second
	// late is what was not answered at once, but had to be sent again.
	late = 500 * time.Millisecond
)

// knockAt opens connections of all kinds until it is told to stop, and then waits for
// all that were begun.
func knockAt(list []*knocking) (stop func()) {
	var wg sync.WaitGroup
	end := make(chan struct{})
	for _, k := range list {
		wg.Go(func() {
			tick := time.NewTicker(knockPause)
			defer tick.Stop()
			for {
				select {
				case <-end:
					return
				case <-tick.C:
					wg.Go(k.once)
				}
			}
		})
	}
	return func() {
		close(end)
		wg.Wait()
	}
}

func (k *knocking) once() {
	t := knock{begun: time.Now()}
	answer, err := ask(k.from, "tcp", k.to, knockPatience)
	if name, _, _ := strings.Cut(answer, " "); err == nil && name != k.want {
		err = fmt.Errorf("%q answers, want %s", answer, k.want)
	}
	t.over, t.err = time.Now(), err
	k.mu.Lock()
	defer k.mu.Unlock()
	k.tries = append(k.tries, t)
}

// since counts those that were begun after a time and have been answered.
func (k *knocking) since(begin time.Time) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range k.tries {
		if t.begun.After(begin) && t.err == nil {
			n++
		}
	}
	return n
}

// result returns how many connections have failed, how many were delayed, and the
// time from the first of these to the last, in which packets were dropped.
func (k *knocking) result() (failed, delayed int, dropping time.Duration, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var first, last time.Time
	for _, t := range k.tries {
		switch {
		case t.err != nil:
			failed, err = failed+1, t.err
		case t.over.Sub(t.begun) > late:
			delayed++
			if first.IsZero() || t.begun.Before(first) {
				first = t.begun
			}
			if t.begun.After(last) {
				last = t.begun
			}
		}
	}
	return failed, delayed, last.Sub(first), err
}

// TestFirewalldReload opens connections all the time while firewalld is reloaded.
//
// Firewalld has a gap of its own that nobody can close: from the begin of a reload
// until its rules are back it drops all packets that begin a connection, also those to
// a port of the host that it lets in itself. Who was dropped sends again and gets
// through. What our bridges' absence from the zone does is another thing: it is
// rejected, and fails at once.
//
// Our rules are those of nftables here, which firewalld leaves alone. Those of iptables
// it flushes with all others; until they are put back published ports fail.
func TestFirewalldReload(t *testing.T) {
	for _, theirs := range []string{"nftables", "iptables"} {
		t.Run("no new connection fails while firewalld with "+theirs+" is reloaded", func(t *testing.T) {
			testFirewalldReload(t, nftables, theirs)
		})
	}
}

func testFirewalldReload(t *testing.T, on backend, theirs string) {
	nstest.Require(t, nstest.Firewalld)
	anew(t)
	h := bareHost(t, on.option())
	h.sysctl("ipv4/ip_forward", "1")
	h.sysctl("ipv6/conf/all/forwarding", "1")
	w := h.newWall(t, theirs)
	w.cmd("--permanent", "--zone", "public", "--add-port", "9000/tcp")
	w.cmd("--reload")
	h.start()
	h.lanServer()
	srv, err := serve(h.own, "host", 9000)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.close)

	// amid does something to firewalld amid connections, and says what became of them.
	amid := func(when string, do func(), list ...visit) {
		t.Helper()
		var all []*knocking
		for _, v := range list {
			all = append(all, &knocking{visit: v})
		}
		stop := knockAt(all)
		enough := func(begin time.Time) {
			t.Helper()
			eventually(t, "not enough connections "+when, func() bool {
				for _, k := range all {
					if k.since(begin) < 20 {
						return false
					}
				}
				return true
			})
		}
		enough(time.Time{})
		begin := time.Now()
		do()
		end := time.Now()
		enough(end)
		stop()
		t.Logf("%s: it took %v", when, end.Sub(begin).Round(time.Millisecond))
		for _, k := range all {
			failed, delayed, dropping, err := k.result()
			t.Logf("%s: %s to %s: of %d connections %d failed, %d were delayed, from the first to the last of these %v",
				when, k.who, k.to, len(k.tries), failed, delayed, dropping.Round(time.Millisecond))
			if err != nil {
				t.Errorf("%s: %s to %s: %d of %d connections have failed, as this one: %v", when, k.who, k.to, failed, len(k.tries), err)
			}
		}
	}
	reload := func() { w.cmd("--reload") }
	own := visit{who: "lan", from: h.lan, to: at(hostV4, 9000), want: "host"}
	amid("a reload without networks", reload, own)

	tcp := func(host uint16) []libnetwork.SandboxOption {
		return publish(types.PortBinding{Proto: types.TCP, Port: port, HostPort: host})
	}
	n1, n2, n3 := h.network(1), h.network(2, label(labelMode4, "routed"), label(labelMode6, "routed")), h.network(3)
	c1, c2, r1, c3 := h.container("c1", tcp(7001), n1), h.container("c2", nil, n1), h.container("r1", tcp(7002), n2), h.container("c3", tcp(7003), n3)
	bridges := []string{"br1", "br2", "br3"}
	w.has(bridges...)
	w.keeps(bridges...)
	all := []visit{
		own,
		{who: "lan", from: h.lan, to: at(hostV4, 7001), want: "c1"},
		{who: "lan", from: h.lan, to: at(hostV6, 7001), want: "c1"},
		{who: "lan", from: h.lan, to: at(r1.v4, port), want: "r1"},
		{who: "lan", from: h.lan, to: at(hostV4, 7003), want: "c3"},
		{who: "c2", from: c2.ns, to: at(c1.v4, port), want: "c1"},
		{who: "c2", from: c2.ns, to: at(hostV4, 7003), want: "c3"},
		{who: "c3", from: c3.ns, to: at(lanV4, port), want: "lan"},
		{who: "c1", from: c1.ns, to: at("10.99.1.1", 9000), want: "host"},
	}
	for range 2 {
		amid("a reload with three networks", reload, all...)
	}
	amid("a restart with three networks", func() {
		w.fw.stop()
		w.start()
	}, all...)
	w.has(bridges...)
	h.clear()
	w.end()
	anew(t)
}
