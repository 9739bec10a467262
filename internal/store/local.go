package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/libnetwork/libnetwork/internal/step"
)

// ErrClosed is returned by Commit after Close.
var ErrClosed = errors.New("store is closed")

const (
	dataName = "libnetwork.db"
	runName  = "state.db"
)

// Config says where a store lives.
type Config struct {
	// DataDir holds the data file. It is made if missing, for its owner alone.
	DataDir string
	// RunDir holds the run file and should be on tmpfs. It is made if missing.
	RunDir string
	// BootID is the id of this boot of the machine, on Linux the content of
	// /proc/sys/kernel/random/boot_id.
	BootID string

	Steps  *step.Counter // numbers each transaction; nil: none
	Logger *slog.Logger  // nil: slog.Default

	maxSize int // of the data file in bytes, for tests of a full disk
}

// Local is an open store. See the package documentation.
type Local struct {
	boot      uint64
	locks     []*os.File
	data, run *file
	wake      chan struct{} // holds a token while there may be work
	done      chan struct{} // closed when the committer has ended
	closeOnce sync.Once
	closeErr  error

	// durable holds the keys of the data file. The committer's alone.
	durable map[string]bool

	mu       sync.Mutex // guards the rest
	queue    []*request
	closed   bool
	records  []Record
	problems []Problem
	lost     bool // neither file was there, see Lost
	sameBoot bool // see SameBoot
}

// request is one Commit that waits.
type request struct {
	ops    []keyedOp
	result chan error // buffered
}

type keyedOp struct {
	key     string
	value   []byte
	durable bool
	aside   bool
}

// Open makes this process the owner of both directories, and reads and heals
// the files in them. It fails with a Forbidden error that names the owner when
// one of the directories has another. Damage does not make it fail: see
// Records.
func Open(ctx context.Context, cfg Config) (_ *Local, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	l := &Local{
		boot:    bootHash(cfg.BootID),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		durable: map[string]bool{},
	}
	defer func() {
		if err != nil {
			// Not joined where there is nothing to join: the class shall stay
			// on the value itself.
			if err2 := l.release(); err2 != nil {
				err = errors.Join(err, err2)
			}
		}
	}()
	if err := l.lock(cfg.DataDir, cfg.RunDir); err != nil {
		return nil, err
	}
	now := time.Now()
	var data, run *content
	if l.data, data, err = openFile(filepath.Join(cfg.DataDir, dataName), options(false, cfg.maxSize), cfg.Steps, now); err != nil {
		return nil, err
	}
	if l.run, run, err = openFile(filepath.Join(cfg.RunDir, runName), options(true, 0), cfg.Steps, now); err != nil {
		return nil, err
	}
	l.lost = data.fresh && run.fresh
	if err := l.heal(data, run); err != nil {
		return nil, err
	}
	for _, p := range l.problems {
		cfg.Logger.WarnContext(ctx, "store: damage found", "kind", p.Kind, "id", p.ID, "path", p.Path, "error", p.Err)
	}
	go l.committer()
	return l, nil
}

// lock makes the directories where they are missing, and owns them.
func (l *Local) lock(dataDir, runDir string) error {
	for _, d := range []struct {
		dir  string
		mode os.FileMode
	}{
		{dataDir, 0o700},
		{runDir, 0o755}, // sockets and namespaces in it have modes of their own
	} {
		if err := os.MkdirAll(filepath.Dir(d.dir), 0o755); err != nil {
			return fmt.Errorf("store: %w", err)
		}
		if err := os.Mkdir(d.dir, d.mode); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("store: %w", err)
		}
		if len(l.locks) > 0 && sameDir(dataDir, runDir) {
			return nil
		}
		f, err := lockDir(d.dir)
		if err != nil {
			return err
		}
		l.locks = append(l.locks, f)
	}
	return nil
}

func sameDir(a, b string) bool {
	ai, err1 := os.Stat(a)
	bi, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(ai, bi)
}

// release closes what Open has opened.
func (l *Local) release() error {
	var errs []error
	for _, f := range []*file{l.run, l.data} {
		if f != nil {
			errs = append(errs, f.close())
		}
	}
	for _, f := range l.locks {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Lost says that Open found neither file, or neither usable: nobody knows what an
// earlier process, if there was one, had made.
func (l *Local) Lost() bool { return l.lost }

// SameBoot says whether an earlier process has had the store in this boot of the
// machine: what it made may still be there.
func (l *Local) SameBoot() bool { return l.sameBoot }

// Records hands over what Open found, in the order of kind and id, with what
// had to be set aside or repaired. It answers once: from then on the caller's
// memory holds the truth.
func (l *Local) Records() ([]Record, []Problem) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, p := l.records, l.problems
	l.records, l.problems = nil, nil
	return r, p
}

// Commit makes all changes or none of them, and returns when they are safe
// against a kill, and those of the data file against a power failure. An error
// names the file that could not be written. When ctx ends before the changes
// have been taken up they are not made; after that Commit waits for the result.
func (l *Local) Commit(ctx context.Context, ops ...Op) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(ops) == 0 {
		return nil
	}
	req := &request{ops: make([]keyedOp, len(ops)), result: make(chan error, 1)}
	for i, op := range ops {
		key, err := op.key()
		if err != nil {
			return err
		}
		req.ops[i] = keyedOp{key, op.Value, op.Durable, op.SetAside}
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.queue = append(l.queue, req)
	l.mu.Unlock()
	l.signal()
	select {
	case err := <-req.result:
		return err
	case <-ctx.Done():
	}
	if l.withdraw(req) {
		return ctx.Err()
	}
	return <-req.result
}

func (l *Local) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// withdraw reports whether req was still waiting and is now forgotten.
func (l *Local) withdraw(req *request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, r := range l.queue {
		if r == req {
			l.queue = append(l.queue[:i], l.queue[i+1:]...)
			return true
		}
	}
	return false
}

// Close waits until all accepted changes are made, closes the files and gives
// up the directories. A second call returns what the first one did.
func (l *Local) Close() error {
	l.closeOnce.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		l.signal()
		<-l.done
		l.closeErr = l.release()
	})
	return l.closeErr
}

// committer writes whatever has gathered while it wrote before.
func (l *Local) committer() {
	defer close(l.done)
	for {
		l.mu.Lock()
		batch, closed := l.queue, l.closed
		l.queue = nil
		l.mu.Unlock()
		switch {
		case len(batch) > 0:
			l.commit(batch)
		case closed:
			return
		default:
			<-l.wake
		}
	}
}

// commit writes a batch, data file first. When that fails, changes that do not
// need it go on; when the run file fails, the data file is set back.
func (l *Local) commit(batch []*request) {
	durable, all := l.changes(batch)
	var undo []change
	man := l.data.man
	if len(durable) > 0 {
		man.seq++
		man.boot = l.boot
		redo, err := encodeRedo(l.boot, man.seq, all)
		if err == nil {
			undo, err = l.data.write(man, durable, redo)
		}
		if err != nil {
			l.split(batch, err)
			return
		}
	}
	runMan := l.run.man
	runMan.seq = man.seq
	_, err := l.run.write(runMan, all, nil)
	if err != nil && len(durable) > 0 {
		back := l.data.man
		back.seq++
		// Later changes of one key are undone before earlier ones.
		for i, j := 0, len(undo)-1; i < j; i, j = i+1, j-1 {
			undo[i], undo[j] = undo[j], undo[i]
		}
		if _, err2 := l.data.write(back, undo, nil); err2 != nil {
			err = errors.Join(err, fmt.Errorf("setting back the other file: %w", err2))
		}
	}
	if err == nil {
		for _, c := range durable {
			if c.raw == nil {
				delete(l.durable, c.key)
			} else {
				l.durable[c.key] = true
			}
		}
	}
	for _, r := range batch {
		r.result <- err
	}
}

// changes encodes a batch: what goes to the data file, and what to the run
// file, which is all of it.
func (l *Local) changes(batch []*request) (durable, all []change) {
	sticky := map[string]bool{} // made durable by this very batch
	for _, r := range batch {
		for _, op := range r.ops {
			d := op.durable || l.durable[op.key] || sticky[op.key]
			c := change{key: op.key, durable: d}
			if op.value != nil {
				c.raw = encode(op.key, entry{op.value, l.boot, d})
			}
			if op.aside {
				c.aside = asideName(op.key, time.Now())
			}
			if d {
				sticky[op.key] = true
				durable = append(durable, c)
				c.aside = "" // of the copy
			}
			all = append(all, c)
		}
	}
	return durable, all
}

// split answers err to the requests that needed the data file and commits the
// others.
func (l *Local) split(batch []*request, err error) {
	var rest []*request
	for _, r := range batch {
		if d, _ := l.changes([]*request{r}); len(d) > 0 {
			r.result <- err
		} else {
			rest = append(rest, r)
		}
	}
	if len(rest) > 0 {
		l.commit(rest)
	}
}
