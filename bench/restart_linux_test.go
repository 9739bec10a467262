package bench_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/engine"
	"github.com/libnetwork/libnetwork/internal/host"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/netns"
	"github.com/libnetwork/libnetwork/internal/nlevents"
	"github.com/libnetwork/libnetwork/internal/nstest"
)

// crowdEnv holds the directories of a process that makes all networks and
// containers, says so, and waits to be killed.
const crowdEnv = "LIBNETWORK_BENCH_CROWD"

// restored is how many networks there are, with a container in each; of four
// containers one has published ports.
const restored = 1000

// keepAlive opens an engine as the daemon does.
func keepAlive(dirs string) (*engine.Engine, func() error, error) {
	data, run, _ := strings.Cut(dirs, ":")
	return host.Open(context.Background(), host.Options{
		DataDir: data, RunDir: run, KeepAlive: true, SmallPools: true, Forwarding: true, RemoveUnowned: true,
	})
}

// forget loses all records and has a start remove what they were for, which is
// quicker than to take it apart one by one.
func forget(dirs string) error {
	data, run, _ := strings.Cut(dirs, ":")
	for _, dir := range []string{data, run} {
		files, err := filepath.Glob(filepath.Join(dir, "*.db"))
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := os.Remove(f); err != nil {
				return err
			}
		}
	}
	_, release, err := keepAlive(dirs)
	if err != nil {
		return err
	}
	return errors.Join(release(), netns.RemoveDir(nil, filepath.Join(run, "netns")), os.RemoveAll(run))
}

// crowded is that process.
func crowded(dirs string) {
	err := func() error {
		e, _, err := keepAlive(dirs)
		if err != nil {
			return err
		}
		errs := make(chan error, restored)
		each(8, restored, func(i int) { errs <- fill(e, i) })
		for range restored {
			if err := <-errs; err != nil {
				return err
			}
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// fill makes one network with a container.
func fill(e *engine.Engine, i int) error {
	ctx := context.Background()
	n, err := e.CreateNetwork(ctx, engine.NetworkRequest{Driver: "bridge", Name: fmt.Sprintf("net%d", i)})
	if err != nil {
		return err
	}
	id := fmt.Sprintf("c%d", i)
	req := engine.SandboxRequest{ContainerID: id}
	if i%4 == 0 {
		p := uint16(10_000 + 20*i)
		req.Publish = []model.Publish{
			{Proto: unix.IPPROTO_TCP, First: p, Last: p, Port: 80, PortLast: 80},
			{Proto: unix.IPPROTO_UDP, First: p, Last: p + 9, Port: p, PortLast: p + 9},
		}
	}
	_, err = e.CreateContainer(ctx, req, []engine.AttachRequest{{Network: n, Endpoint: engine.EndpointRequest{Name: id}}})
	return err
}

// BenchmarkRestart opens an engine beside the networks and containers of an earlier
// process that was killed, and of one that has stopped.
func BenchmarkRestart(b *testing.B) {
	nstest.Require(b, nstest.Root, nstest.Bridge, nstest.Veth, nstest.NFTables)
	run, err := os.MkdirTemp("/run", "b") //nolint:usetesting // short, and on the file system that it is for
	if err != nil {
		b.Fatal(err)
	}
	dirs := filepath.Join(b.TempDir(), "d") + ":" + run
	c := nstest.StartChild(b, crowdEnv+"="+dirs)
	if c.Said != "ready" {
		b.Fatalf("the first process says %q", c.Said)
	}
	if err := c.Kill(); err != nil {
		b.Fatal(err)
	}

	open := func() (_ *engine.Engine, release func() error, took, used time.Duration) {
		var e *engine.Engine
		before := cpu()
		took = clock(func() { e, release, err = keepAlive(dirs) })
		if err != nil {
			b.Fatal(err)
		}
		if n, s := len(e.Networks()), len(e.Sandboxes()); n != restored || s != restored {
			b.Fatalf("there are %d networks and %d containers", n, s)
		}
		return e, release, took, cpu() - before
	}
	writes := writes(b)
	_, release, killed, _ := open()
	if err := release(); err != nil {
		b.Fatal(err)
	}
	var stopped, used []time.Duration
	// b.Loop has all be made once, where b.N would have it made twice.
	for i := 0; b.Loop(); i++ {
		if i >= 10 {
			continue
		}
		_, release, took, cpu := open()
		stopped, used = append(stopped, took), append(used, cpu)
		if err := release(); err != nil {
			b.Fatal(err)
		}
	}
	changed := writes()
	_, release, _, _ = open()
	memory := heap()
	if err := errors.Join(release(), forget(dirs)); err != nil {
		b.Error(err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(median(stopped)), "restart-ms")
	b.ReportMetric(ms(killed), "killed-ms")
	b.ReportMetric(ms(median(used)), "cpu-ms")
	b.ReportMetric(float64(changed), "kernel-writes")
	b.ReportMetric(float64(memory)/1e6, "heap-MB")
	if changed > 0 {
		b.Errorf("starts beside what is as wanted have changed the kernel %d times", changed)
	}
}

// writes counts what the kernel tells of links, addresses, routes and nf_tables,
// until the function returned is called.
func writes(b *testing.B) func() int64 {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	var seen atomic.Int64
	const tables = 7 // NFNLGRP_NFTABLES
	for protocol, groups := range map[int][]int{
		unix.NETLINK_NETFILTER: {tables},
		unix.NETLINK_ROUTE: {
			unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE,
			unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
		},
	} {
		s, err := nlevents.Open(protocol, groups...)
		if err != nil {
			b.Fatal(err)
		}
		wg.Go(func() {
			err := s.Read(ctx, func(nlevents.Message) { seen.Add(1) }, func() { b.Error("messages were lost") })
			if err := errors.Join(err, s.Close()); err != nil {
				b.Error(err)
			}
		})
	}
	return func() int64 {
		cancel()
		wg.Wait()
		return seen.Load()
	}
}
