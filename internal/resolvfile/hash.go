package resolvfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

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

// writeHash replaces the digest as a whole, so that a crash leaves the old or
// the new one.
func writeHash(path, hash string) error {
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
