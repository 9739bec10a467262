package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"time"

	"go.etcd.io/bbolt"

	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

var (
	bucketRecords = []byte("v1") // "kind/id" -> encoded entry
	// bucketLarge has those above largeRecord. It is made with the first one, and is a
	// version to those who do not know it: they leave the file alone.
	bucketLarge   = []byte("v2")
	bucketMeta    = []byte("meta")
	bucketDamaged = []byte("damaged") // "kind/id@unix time" -> raw bytes

	keyManifest = []byte("manifest")
	keyRedo     = []byte("redo")

	otherVersion = regexp.MustCompile(`^v[0-9]+$`)
)

// largeRecord is the length above which a record is kept apart. A page is written as a
// whole with the records on it, and bbolt puts two at least on each: beside a large record
// every commit of a small one would write that too.
const largeRecord = 2048

// records are all records of a file.
type records struct{ small, large *bbolt.Bucket }

func recordsOf(tx *bbolt.Tx) records {
	return records{tx.Bucket(bucketRecords), tx.Bucket(bucketLarge)}
}

func (r records) get(key []byte) []byte {
	if raw := r.small.Get(key); raw != nil || r.large == nil {
		return raw
	}
	return r.large.Get(key)
}

func (r records) delete(key []byte) error {
	if err := r.small.Delete(key); err != nil || r.large == nil {
		return err
	}
	return r.large.Delete(key)
}

func (r *records) put(key, raw []byte) (err error) {
	if len(raw) <= largeRecord {
		if r.large != nil {
			err = r.large.Delete(key)
		}
		return errors.Join(err, r.small.Put(key, raw))
	}
	if r.large == nil {
		if r.large, err = r.small.Tx().CreateBucket(bucketLarge); err != nil {
			return err
		}
	}
	return errors.Join(r.small.Delete(key), r.large.Put(key, raw))
}

func (r records) each(fn func(key, raw []byte) error) error {
	if err := r.small.ForEach(fn); err != nil || r.large == nil {
		return err
	}
	return r.large.ForEach(fn)
}

// file is one open bbolt file. Its methods are called by one goroutine at a
// time.
type file struct {
	path   string
	db     *bbolt.DB
	man    manifest
	steps  *step.Counter
	broken error // set when bbolt's own state cannot be trusted any more
}

// content is what a file held when it was opened.
type content struct {
	entries  map[string]entry
	redo     []byte
	fresh    bool // the file was made just now
	suspect  bool // records are damaged or missing
	problems []Problem
}

// change is one write to a file; a nil raw deletes.
type change struct {
	key     string
	raw     []byte
	durable bool   // for the data file too
	aside   string // where what is deleted is kept; empty: nowhere
}

// asideName is where a record is kept that was set aside.
func asideName(key string, now time.Time) string {
	return key + "@" + strconv.FormatInt(now.Unix(), 10)
}

// options are the same for both files but for syncing. The free pages are
// found by reading the file at start, so a transaction writes less and a
// damaged list of them cannot make bbolt overwrite what is in use.
func options(noSync bool, maxSize int) *bbolt.Options {
	return &bbolt.Options{
		// The directory is ours, so nobody but a stray tool holds the file.
		Timeout:        time.Millisecond,
		NoSync:         noSync,
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
		NoStatistics:   true,
		MaxSize:        maxSize,
	}
}

// guard runs fn and turns a panic or a memory fault in it into an error.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	return fn()
}

// openFile opens the file at path and reads it. A file that cannot be trusted
// is renamed and a fresh one made; an error means that neither could be done.
func openFile(path string, opts *bbolt.Options, steps *step.Counter, now time.Time) (*file, *content, error) {
	var problems []Problem
	for attempt := 0; ; attempt++ {
		f := &file{path: path, steps: steps}
		c := &content{entries: map[string]entry{}}
		err := f.open(opts, c, now)
		if err == nil {
			c.problems = append(problems, c.problems...)
			return f, c, nil
		}
		var forbidden types.ForbiddenError
		if errors.As(err, &forbidden) {
			return nil, nil, types.ForbiddenErrorf("store file %s: %w", path, err)
		}
		if !errors.Is(err, errDamaged) || attempt > 0 {
			return nil, nil, fmt.Errorf("store file %s: %w", path, err)
		}
		aside, err2 := setAside(path, now)
		if err2 != nil {
			return nil, nil, fmt.Errorf("store file %s: %w", path, errors.Join(err, err2))
		}
		problems = append(problems, Problem{Path: aside, Err: fmt.Errorf("%s was set aside: %w", filepath.Base(path), err)})
	}
}

func (f *file) open(opts *bbolt.Options, c *content, now time.Time) error {
	if fi, err := os.Stat(f.path); err == nil && !fi.Mode().IsRegular() {
		// Reading one could wait for ever.
		return fmt.Errorf("%w: not a regular file: mode %s", errDamaged, fi.Mode())
	}
	b, err := os.ReadFile(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.fresh = true
		if err := createFile(f.path, opts); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		oneHeader, err := verifyBolt(b)
		if err != nil {
			return err
		}
		if oneHeader {
			c.problems = append(c.problems, Problem{Path: f.path, Err: fmt.Errorf("%w: one of two headers; the last change may be lost", errDamaged)})
		}
	}
	err = guard(func() error {
		db, err := bbolt.Open(f.path, 0o600, opts)
		if err != nil {
			return err
		}
		f.db = db
		return f.load(c, now)
	})
	if err != nil && f.db != nil {
		err = errors.Join(err, f.db.Close())
	}
	return err
}

// createFile makes an empty file under another name first: what stands under
// the real name is always complete.
func createFile(path string, opts *bbolt.Options) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(tmp, 0o600, opts)
	if err != nil {
		return err
	}
	// Two transactions, so that both headers are of our kind.
	for _, name := range [][]byte{bucketRecords, bucketMeta} {
		err = errors.Join(err, db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket(name)
			if err != nil || string(name) != string(bucketMeta) {
				return err
			}
			return b.Put(keyManifest, manifest{}.encode())
		}))
	}
	if err := errors.Join(err, db.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// setAside renames a file that cannot be used and returns its new path.
func setAside(path string, now time.Time) (string, error) {
	base := path + ".damaged-" + strconv.FormatInt(now.Unix(), 10)
	aside := base
	for i := 2; ; i++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			return aside, os.Rename(path, aside)
		}
		aside = base + "-" + strconv.Itoa(i)
	}
}

// load reads all records and moves damaged ones out of the way.
func (f *file) load(c *content, now time.Time) error {
	var got manifest // of what is really there
	damaged := map[string][]byte{}
	err := f.db.View(func(tx *bbolt.Tx) error {
		if err := checkBuckets(tx); err != nil {
			return err
		}
		meta := tx.Bucket(bucketMeta)
		var err error
		if f.man, err = decodeManifest(meta.Get(keyManifest)); err != nil {
			c.suspect = true
			c.problems = append(c.problems, Problem{Path: f.path, Err: err})
		}
		c.redo = append([]byte(nil), meta.Get(keyRedo)...)
		return recordsOf(tx).each(func(k, raw []byte) error {
			key := string(k)
			e, err := decode(key, raw)
			if err != nil {
				damaged[key] = append([]byte{}, raw...)
				kind, id := splitKey(key)
				c.problems = append(c.problems, Problem{Kind: kind, ID: id, Path: f.path, Err: err})
				return nil
			}
			c.entries[key] = e
			got.add(raw)
			return nil
		})
	})
	if err != nil {
		return err
	}
	if got.count == f.man.count && got.sum == f.man.sum && len(damaged) == 0 && !c.suspect {
		return nil
	}
	if want := f.man.count; !c.suspect && want != got.count+uint64(len(damaged)) {
		c.problems = append(c.problems, Problem{Path: f.path, Err: fmt.Errorf("%w: holds %d records, want %d", errDamaged, got.count+uint64(len(damaged)), want)})
	} else if !c.suspect && len(damaged) == 0 {
		c.problems = append(c.problems, Problem{Path: f.path, Err: fmt.Errorf("%w: its records are not those written last", errDamaged)})
	}
	c.suspect = true
	f.man.count, f.man.sum = got.count, got.sum
	return f.moveDamaged(damaged, now)
}

func checkBuckets(tx *bbolt.Tx) error {
	err := tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		switch s := string(name); {
		case b == nil:
			return fmt.Errorf("%w: not a file of this store: key %q", errDamaged, s)
		case s == string(bucketRecords), s == string(bucketLarge), s == string(bucketMeta), s == string(bucketDamaged):
			return nil
		case otherVersion.MatchString(s):
			return types.ForbiddenErrorf("its layout %s is newer than this program", s)
		default:
			return fmt.Errorf("%w: not a file of this store: bucket %q", errDamaged, s)
		}
	})
	if err == nil && (tx.Bucket(bucketRecords) == nil || tx.Bucket(bucketMeta) == nil) {
		err = fmt.Errorf("%w: not a file of this store", errDamaged)
	}
	return err
}

func (f *file) moveDamaged(damaged map[string][]byte, now time.Time) error {
	if err := f.steps.Next("store: set aside"); err != nil {
		return err
	}
	return f.db.Update(func(tx *bbolt.Tx) error {
		aside, err := tx.CreateBucketIfNotExists(bucketDamaged)
		if err != nil {
			return err
		}
		all := recordsOf(tx)
		for key, raw := range damaged {
			if err := errors.Join(aside.Put([]byte(asideName(key, now)), raw), all.delete([]byte(key))); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keyManifest, f.man.encode())
	})
}

// write makes all changes in one transaction and returns those that undo it.
// The file's manifest becomes man, with the checksums brought up to date; redo
// replaces what an earlier transaction left.
func (f *file) write(man manifest, changes []change, redo []byte) (undo []change, err error) {
	if f.broken != nil {
		return nil, fmt.Errorf("store file %s: %w", f.path, f.broken)
	}
	if err := f.steps.Next("store: commit"); err != nil {
		return nil, fmt.Errorf("store file %s: %w", f.path, err)
	}
	err = guard(func() error {
		return f.db.Update(func(tx *bbolt.Tx) error {
			man.count, man.sum = f.man.count, f.man.sum
			undo = make([]change, 0, len(changes))
			var err error
			if undo, err = apply(tx, &man, changes, undo); err != nil {
				return err
			}
			meta := tx.Bucket(bucketMeta)
			if redo == nil {
				err = meta.Delete(keyRedo)
			} else {
				err = meta.Put(keyRedo, redo)
			}
			return errors.Join(err, meta.Put(keyManifest, man.encode()))
		})
	})
	if err != nil {
		f.broken = f.trusted(err)
		return nil, fmt.Errorf("store file %s: %w", f.path, err)
	}
	f.man = man
	return undo, nil
}

func apply(tx *bbolt.Tx, man *manifest, changes, undo []change) ([]change, error) {
	all := recordsOf(tx)
	for _, c := range changes {
		key := []byte(c.key)
		var was []byte
		if old := all.get(key); old != nil {
			was = append([]byte{}, old...)
			man.remove(was)
		}
		undo = append(undo, change{key: c.key, raw: was})
		if c.aside != "" && was != nil {
			aside, err := tx.CreateBucketIfNotExists(bucketDamaged)
			if err == nil {
				err = aside.Put([]byte(c.aside), was)
			}
			if err != nil {
				return nil, err
			}
		}
		if c.raw == nil {
			if err := all.delete(key); err != nil {
				return nil, err
			}
			continue
		}
		man.add(c.raw)
		if err := all.put(key, c.raw); err != nil {
			return nil, err
		}
	}
	return undo, nil
}

// trusted returns why the file must not be written any more after a
// transaction that failed with err, or nil: bbolt must still show the state
// before it. A failing sync can leave the new state visible but not on disk.
func (f *file) trusted(err error) error {
	if errors.Is(err, errDamaged) {
		return fmt.Errorf("unusable since an earlier failure: %w", err)
	}
	var now manifest
	err2 := guard(func() error {
		return f.db.View(func(tx *bbolt.Tx) (err error) {
			now, err = decodeManifest(tx.Bucket(bucketMeta).Get(keyManifest))
			return err
		})
	})
	if err2 != nil || now != f.man {
		return fmt.Errorf("unusable since an earlier failure: %w", errors.Join(err, err2))
	}
	return nil
}

// close leaves a broken file alone: bbolt could wait for ever on a lock that
// its panic left behind.
func (f *file) close() error {
	if f.broken != nil {
		return nil
	}
	return f.db.Close()
}
