package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

func config(t testing.TB) Config {
	t.Helper()
	dir := t.TempDir()
	return Config{DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), BootID: "boot-1"}
}

func open(t testing.TB, cfg Config) *Local {
	t.Helper()
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func commit(t testing.TB, l *Local, ops ...Op) {
	t.Helper()
	if err := l.Commit(context.Background(), ops...); err != nil {
		t.Fatal(err)
	}
}

// reread opens the store, closes it and returns what it found, problems as
// text without their paths.
func reread(t testing.TB, cfg Config) ([]Record, []Problem) {
	t.Helper()
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r, p := l.Records()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return r, p
}

func wantRecords(t testing.TB, want, got []Record) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func network(id, v string) Op {
	return Op{Kind: "network", ID: id, Value: []byte(v), Durable: true}
}
func endpoint(id, v string) Op { return Op{Kind: "endpoint", ID: id, Value: []byte(v)} }

func dataPath(c Config) string { return filepath.Join(c.DataDir, dataName) }
func runPath(c Config) string  { return filepath.Join(c.RunDir, runName) }

var (
	net1 = Record{Kind: "network", ID: "n1", Value: []byte("one"), Durable: true}
	ep1  = Record{Kind: "endpoint", ID: "e1", Value: []byte("uno")}
)

func TestReopen(t *testing.T) {
	cfg := config(t)
	l := open(t, cfg)
	t.Run("DS-9 a store that was never written is empty, and that is no failure", func(t *testing.T) {
		if r, p := l.Records(); len(r)+len(p) != 0 {
			t.Errorf("a new store holds %v, %v", r, p)
		}
	})
	commit(t, l, network("n1", "old"), network("n2", "two"), endpoint("e1", "uno"), endpoint("e2", ""))
	commit(t, l, network("n1", "one"), Op{Kind: "network", ID: "n2", Durable: true}, Op{Kind: "sandbox", ID: "none"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := l.Commit(t.Context(), endpoint("e3", "x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Commit after Close: %v", err)
	}
	cfg.Steps = step.New(nil)
	got, problems := reread(t, cfg)
	wantRecords(t, []Record{ep1, {Kind: "endpoint", ID: "e2", Value: []byte{}}, net1}, got)
	if len(problems) != 0 {
		t.Errorf("problems: %v", problems)
	}
	if n := cfg.Steps.Count(); n != 0 {
		t.Errorf("opening an intact store wrote %d transactions", n)
	}
}

func TestModes(t *testing.T) {
	cfg := config(t)
	cfg.DataDir = filepath.Join(cfg.DataDir, "sub")
	open(t, cfg)
	for _, c := range []struct {
		name, path string
		want       os.FileMode
	}{
		{"DS-2 a missing data directory is made, for its owner alone", cfg.DataDir, 0o700},
		{"DS-2 missing directories above it are made, for all to pass", filepath.Dir(cfg.DataDir), 0o755},
		{"DS-2 a missing run directory is made, for all to pass", cfg.RunDir, 0o755},
		{"DS-2 the data file is its owner's alone", dataPath(cfg), 0o600},
		{"DS-2 the run file is its owner's alone", runPath(cfg), 0o600},
		{"DS-2 the lock is its owner's alone", filepath.Join(cfg.DataDir, "lock"), 0o600},
	} {
		t.Run(c.name, func(t *testing.T) {
			fi, err := os.Stat(c.path)
			if err != nil {
				t.Fatal(err)
			}
			if got := fi.Mode().Perm(); got != c.want {
				t.Errorf("mode of %s is %o, want %o", c.path, got, c.want)
			}
		})
	}
}

func TestTwoStores(t *testing.T) {
	t.Run("DS-3 two stores of one process share nothing", func(t *testing.T) {
		a, b := config(t), config(t)
		la, lb := open(t, a), open(t, b)
		commit(t, la, network("n1", "one"), endpoint("e1", "uno"))
		commit(t, lb, network("n1", "other"))
		commit(t, lb, Op{Kind: "network", ID: "n1"})
		_, _ = la.Close(), lb.Close()
		got, _ := reread(t, a)
		wantRecords(t, []Record{ep1, net1}, got)
		got, _ = reread(t, b)
		wantRecords(t, nil, got)
	})
}

func TestSequence(t *testing.T) {
	t.Run("DS-12 the number of a transaction only grows, over restarts too", func(t *testing.T) {
		cfg := config(t)
		var last uint64
		for i := range 3 {
			l := open(t, cfg)
			for j := range 3 {
				commit(t, l, network("n1", fmt.Sprint(i, j)))
				if seq := l.data.man.seq; seq <= last {
					t.Errorf("start %d, commit %d: number %d after %d", i, j, seq, last)
				}
				last = l.data.man.seq
			}
			_ = l.Close()
		}
	})
}

func TestCopies(t *testing.T) {
	t.Run("DS-13 what the caller does to a value later changes no record", func(t *testing.T) {
		cfg := config(t)
		l := open(t, cfg)
		op := network("n1", "one")
		commit(t, l, op, endpoint("e1", "uno"))
		copy(op.Value, "XXX")
		_ = l.Close()
		got, _ := reread(t, cfg)
		for _, r := range got {
			clear(r.Value)
		}
		got, _ = reread(t, cfg)
		wantRecords(t, []Record{ep1, net1}, got)
	})
}

func TestSameDirectory(t *testing.T) {
	cfg := config(t)
	cfg.RunDir = cfg.DataDir
	l := open(t, cfg)
	commit(t, l, network("n1", "one"), endpoint("e1", "uno"))
	_ = l.Close()
	got, _ := reread(t, cfg)
	wantRecords(t, []Record{ep1, net1}, got)
}

func TestOwner(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config, string)
		dir    func(Config) string
	}{
		{"DS-5 a data directory in use is refused at once, and its owner named", func(c *Config, d string) { c.RunDir = d }, func(c Config) string { return c.DataDir }},
		{"DS-5 a run directory in use is refused at once, and its owner named", func(c *Config, d string) { c.DataDir = d }, func(c Config) string { return c.RunDir }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config(t)
			l := open(t, cfg)
			second := cfg
			tc.change(&second, filepath.Join(t.TempDir(), "other"))
			_, err := Open(t.Context(), second)
			if _, ok := err.(types.ForbiddenError); !ok {
				t.Fatalf("error %v is not Forbidden", err)
			}
			for _, part := range []string{fmt.Sprintf("pid %d", os.Getpid()), filepath.Base(os.Args[0]), tc.dir(cfg)} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not name %q", err, part)
				}
			}
			_ = l.Close()
			open(t, second) // given up by Close
		})
	}
}

func TestRefusedOps(t *testing.T) {
	l := open(t, config(t))
	for _, op := range []Op{
		{ID: "x"},
		{Kind: "a/b", ID: "x"},
		{Kind: "network"},
		{Kind: "network", ID: strings.Repeat("x", maxKey)},
		{Kind: "network", ID: "x", Value: make([]byte, maxValue+1)},
	} {
		err := l.Commit(t.Context(), endpoint("e1", "uno"), op)
		if _, ok := err.(types.BadRequestError); !ok {
			t.Errorf("kind %q id %.10q: %v is not BadRequest", op.Kind, op.ID, err)
		}
	}
	cfg := Config{DataDir: filepath.Dir(l.data.path), RunDir: filepath.Dir(l.run.path), BootID: "boot-1"}
	_ = l.Close()
	got, _ := reread(t, cfg)
	wantRecords(t, nil, got)
}

func TestContext(t *testing.T) {
	cfg := config(t)
	ctx, cancel := context.WithCancel(t.Context())
	entered, leave := make(chan struct{}), make(chan struct{})
	var block bool
	cfg.Steps = step.New(func(int, string) error {
		if block {
			block = false
			close(entered)
			<-leave
		}
		return nil
	})
	l := open(t, cfg)
	block = true
	first := make(chan error)
	go func() { first <- l.Commit(context.Background(), endpoint("e1", "uno")) }()
	<-entered
	second := make(chan error)
	go func() { second <- l.Commit(ctx, endpoint("e2", "dos")) }()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled Commit: %v", err)
	}
	close(leave)
	if err := <-first; err != nil {
		t.Error(err)
	}
	_ = l.Close()
	got, _ := reread(t, cfg)
	wantRecords(t, []Record{ep1}, got)
	if _, err := Open(ctx, cfg); !errors.Is(err, context.Canceled) {
		t.Errorf("Open with an ended context: %v", err)
	}
}

func TestStickyDurable(t *testing.T) {
	cfg := config(t)
	l := open(t, cfg)
	commit(t, l, network("n1", "old"), network("n2", "two"))
	commit(t, l, Op{Kind: "network", ID: "n1", Value: []byte("one")}, Op{Kind: "network", ID: "n2"})
	_ = l.Close()
	got, _ := reread(t, cfg)
	wantRecords(t, []Record{net1}, got)
}

// TestFailingTransaction fails each transaction of one call in turn: after
// each, both files hold what they held before.
func TestFailingTransaction(t *testing.T) {
	for at := 1; at <= 2; at++ {
		t.Run(fmt.Sprintf("DS-14 when transaction %d of a call fails both files stay as they were", at), func(t *testing.T) {
			cfg := config(t)
			failAt := 0
			cfg.Steps = step.New(func(n int, _ string) error {
				if n == failAt {
					return step.ErrInjected
				}
				return nil
			})
			l := open(t, cfg)
			commit(t, l, network("n1", "one"), endpoint("e1", "uno"))
			failAt = cfg.Steps.Count() + at
			err := l.Commit(t.Context(), network("n1", "a"), network("n1", "b"), network("n2", "c"), endpoint("e1", "d"))
			if !errors.Is(err, step.ErrInjected) {
				t.Errorf("error %v, want the injected one", err)
			}
			if name := []string{dataPath(cfg), runPath(cfg)}[at-1]; err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("error %q does not name %s", err, name)
			}
			commit(t, l, endpoint("e2", "dos")) // goes on
			_ = l.Close()
			got, problems := reread(t, cfg)
			wantRecords(t, []Record{ep1, {Kind: "endpoint", ID: "e2", Value: []byte("dos")}, net1}, got)
			if len(problems) != 0 {
				t.Errorf("problems: %v", problems)
			}
		})
	}
}

func TestDiskFull(t *testing.T) {
	cfg := config(t)
	cfg.maxSize = 64 << 10
	l := open(t, cfg)
	commit(t, l, network("n1", "one"), endpoint("e1", "uno"))
	big := network("n2", strings.Repeat("x", 128<<10))
	err := l.Commit(t.Context(), big, network("n1", "changed"), endpoint("e1", "changed"))
	if err == nil || !strings.Contains(err.Error(), dataPath(cfg)) {
		t.Errorf("Commit on a full disk: %v, want an error that names the file", err)
	}
	commit(t, l, endpoint("e2", "dos"), network("n3", "small")) // what fits goes on
	_ = l.Close()
	got, problems := reread(t, cfg)
	wantRecords(t, []Record{
		ep1,
		{Kind: "endpoint", ID: "e2", Value: []byte("dos")},
		net1,
		{Kind: "network", ID: "n3", Value: []byte("small"), Durable: true},
	}, got)
	if len(problems) != 0 {
		t.Errorf("problems: %v", problems)
	}
}

// TestGroupCommit holds one transaction back until many callers wait, and
// counts those that serve them all.
func TestGroupCommit(t *testing.T) {
	const callers = 64
	cfg := config(t)
	entered, hold := make(chan struct{}), make(chan struct{})
	armed := false
	cfg.Steps = step.New(func(int, string) error {
		if armed {
			armed = false
			close(entered)
			<-hold
		}
		return nil
	})
	l := open(t, cfg)
	before := cfg.Steps.Count()
	armed = true
	var wg sync.WaitGroup
	wg.Go(func() { commit(t, l, endpoint("first", "x")) })
	<-entered
	for i := range callers {
		wg.Go(func() { commit(t, l, endpoint(fmt.Sprint(i), "x"), network(fmt.Sprint(i), "y")) })
	}
	for waiting := 0; waiting < callers; runtime.Gosched() {
		l.mu.Lock()
		waiting = len(l.queue)
		l.mu.Unlock()
	}
	close(hold)
	wg.Wait()
	if n := cfg.Steps.Count() - before; n != 3 {
		t.Errorf("one commit and %d parallel ones took %d transactions, want 1 and one per file", callers, n)
	}
	_ = l.Close()
	got, _ := reread(t, cfg)
	if len(got) != 2*callers+1 {
		t.Errorf("%d records, want %d", len(got), 2*callers+1)
	}
}

// TestGroupOfBothKinds fails the data file under a group: callers that do not
// need it succeed.
func TestGroupOfBothKinds(t *testing.T) {
	cfg := config(t)
	entered, hold := make(chan struct{}), make(chan struct{})
	at := -1
	cfg.Steps = step.New(func(n int, _ string) error {
		switch n {
		case at:
			close(entered)
			<-hold
		case at + 1: // the data file's transaction of the group
			return step.ErrInjected
		}
		return nil
	})
	l := open(t, cfg)
	at = cfg.Steps.Count() + 1
	results := map[string]chan error{}
	start := func(op Op) {
		results[op.ID] = make(chan error, 1)
		go func(c chan error) { c <- l.Commit(context.Background(), op) }(results[op.ID])
	}
	start(endpoint("e1", "uno"))
	<-entered
	start(endpoint("e2", "dos"))
	start(network("n1", "one"))
	for waiting := 0; waiting < 2; runtime.Gosched() {
		l.mu.Lock()
		waiting = len(l.queue)
		l.mu.Unlock()
	}
	close(hold)
	for id, c := range results {
		if err := <-c; (err != nil) != (id == "n1") {
			t.Errorf("commit of %s: %v", id, err)
		}
	}
	_ = l.Close()
	got, _ := reread(t, cfg)
	wantRecords(t, []Record{ep1, {Kind: "endpoint", ID: "e2", Value: []byte("dos")}}, got)
}

func TestParallelCommits(t *testing.T) {
	cfg := config(t)
	l := open(t, cfg)
	const workers, rounds = 8, 50
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				op := endpoint(fmt.Sprint(w), fmt.Sprint(i))
				op.Durable = w == 0
				commit(t, l, op)
			}
		})
	}
	wg.Wait()
	_ = l.Close()
	got, _ := reread(t, cfg)
	var want []Record
	for w := range workers {
		want = append(want, Record{Kind: "endpoint", ID: fmt.Sprint(w), Value: fmt.Append(nil, rounds-1), Durable: w == 0})
	}
	wantRecords(t, want, got)
}

// A record that grows is kept apart, so that commits of small ones do not write it.
func TestLargeRecords(t *testing.T) {
	cfg := config(t)
	l := open(t, cfg)
	text := func(size int) string { return strings.Repeat("x", size) }
	written := func(size int) int64 {
		t.Helper()
		commit(t, l, endpoint("other", text(size)))
		before := l.run.db.Stats()
		commit(t, l, endpoint("small", text(100)))
		after := l.run.db.Stats()
		return after.TxStats.GetPageAlloc() - before.TxStats.GetPageAlloc()
	}
	beside := written(100)
	for _, size := range []int{largeRecord / 2, 1 << 20, 100, 1 << 20} {
		if got := written(size); size > largeRecord && got > beside+8<<10 {
			t.Errorf("beside a record of %d bytes a small one writes %d bytes, not %d", size, got, beside)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, cfg)
		got := map[string]int{}
		list, problems := l.Records()
		for _, r := range list {
			got[r.ID] = len(r.Value)
		}
		if want := map[string]int{"other": size, "small": 100}; !maps.Equal(got, want) || len(problems) > 0 {
			t.Errorf("records are %v, want %v; %v", got, want, problems)
		}
	}
	commit(t, l, Op{Kind: "endpoint", ID: "other"})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if list, problems := open(t, cfg).Records(); len(list) != 1 || len(problems) > 0 {
		t.Errorf("after its deletion the records are %v; %v", list, problems)
	}
}
