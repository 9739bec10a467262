package resolvfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/hostsfile/inplace"
	"github.com/libnetwork/libnetwork/resolvconf"
)

// writer is who wrote a file last.
type writer int

const (
	ours   writer = iota // as Create or OnJoin left it
	taken                // points at the embedded server
	edited               // by the user
)

// read returns the file and who wrote it. Without a digest nobody edited it.
func read(path string) (*resolvconf.File, writer, error) {
	file, err := resolvconf.GetSpecific(path)
	if err != nil {
		return nil, 0, err
	}
	hash, err := os.ReadFile(path + HashSuffix)
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return nil, 0, fmt.Errorf("digest of resolver configuration: %w", err)
	case !missing && strings.TrimSpace(string(hash)) == file.Hash:
		return file, ours, nil
	case slices.Contains(resolvconf.GetNameservers(file.Content, resolvconf.IPv4), Server):
		return file, taken, nil
	case missing:
		return file, ours, nil
	}
	return file, edited, nil
}

// Save remembers a file and its digest, for a change that may fail. restore puts
// them back if the file has been changed; a file that was not there stays.
func Save(path string) (restore func() error) {
	old, by, err := read(path)
	hash, hashErr := os.ReadFile(path + HashSuffix)
	return func() error {
		if err != nil {
			return nil //nolint:nilerr // there was none
		}
		now, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && bytes.Equal(now, old.Content) {
			return nil
		}
		if err == nil {
			err = inplace.WriteFile(path, old.Content)
		}
		switch {
		case err != nil:
			return fmt.Errorf("restore resolver configuration: %w", err)
		case hashErr != nil: // there was none
			return nil
		case by == ours:
			return writeHash(path)
		}
		return putHash(path, string(hash))
	}
}

// Remove deletes the file and its digest. Missing files are no error.
func Remove(path string) error {
	return errors.Join(remove(path), removeHash(path))
}

func removeHash(path string) error {
	return remove(path + HashSuffix)
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove resolver configuration: %w", err)
	}
	return nil
}

// writeHash makes the digest that of the file.
func writeHash(path string) error {
	file, err := resolvconf.GetSpecific(path)
	if err != nil {
		return err
	}
	return putHash(path, file.Hash)
}

// putHash replaces the digest as a whole, so that a crash leaves the old or the
// new one.
func putHash(path, hash string) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+HashSuffix+"-*")
	if err != nil {
		return fmt.Errorf("digest of resolver configuration: %w", err)
	}
	_, err = f.WriteString(hash)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), path+HashSuffix)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("digest of resolver configuration: %w", err)
	}
	return nil
}
