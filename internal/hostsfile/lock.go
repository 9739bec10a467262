package hostsfile

import (
	"path/filepath"
	"sync"
)

// paths is process-wide because the files are: two controllers may be given the
// same path. An entry lives only as long as somebody edits the file.
var paths pathLocks

type pathLocks struct {
	mu    sync.Mutex // guards inUse and every users field; never held while a path is locked
	inUse map[string]*pathLock
}

type pathLock struct {
	sync.Mutex
	users int // that hold or wait for the lock
}

// lock waits for the path and returns the function that gives it back.
func (p *pathLocks) lock(path string) (unlock func()) {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	p.mu.Lock()
	l := p.inUse[path]
	if l == nil {
		if p.inUse == nil {
			p.inUse = make(map[string]*pathLock)
		}
		l = new(pathLock)
		p.inUse[path] = l
	}
	l.users++
	p.mu.Unlock()

	l.Lock()
	return func() {
		l.Unlock()
		p.mu.Lock()
		defer p.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(p.inUse, path)
		}
	}
}
