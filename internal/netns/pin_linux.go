package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork/internal/step"
)

// maxMounts is how many mounts on top of each other are taken off one file.
const maxMounts = 64

// EnsureDir makes a directory for pinned namespaces, 0755, and makes it a
// shared mount of its own, so that what is pinned there is seen and let go in
// all mount namespaces made from this one. Done twice it changes nothing.
func EnsureDir(steps *step.Counter, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	mounted, err := isMount(dir)
	if err != nil {
		return fmt.Errorf("directory of network namespaces: %w", err)
	}
	if !mounted {
		if err := steps.Next("netns: mount directory " + dir); err != nil {
			return err
		}
		if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("bind %s on itself: %w", dir, err)
		}
	}
	if err := steps.Next("netns: share directory " + dir); err != nil {
		return err
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make mount %s shared: %w", dir, err)
	}
	return nil
}

// RemoveDir undoes EnsureDir. It fails if anything is pinned there still. A
// file system that somebody else mounted on the directory stays.
func RemoveDir(steps *step.Counter, dir string) error {
	mounted, err := isMount(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if mounted {
		var in, above unix.Stat_t
		if err := errors.Join(unix.Stat(dir, &in), unix.Stat(filepath.Dir(dir), &above)); err != nil {
			return err
		}
		if in.Dev != above.Dev {
			return fmt.Errorf("%s is a file system of its own", dir)
		}
		if err := steps.Next("netns: unmount directory " + dir); err != nil {
			return err
		}
		if err := unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	if err := steps.Next("netns: remove directory " + dir); err != nil {
		return err
	}
	return os.Remove(dir)
}

// isMount says whether path is the root of a mount.
func isMount(path string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st); err != nil {
		return false, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// Remove unpins a namespace and removes its file. The namespace itself goes
// when nobody uses it any more. What is not there is no error; only what stays
// is one.
func Remove(steps *step.Counter, path string) error {
	if err := steps.Next("netns: remove " + path); err != nil {
		return err
	}
	for range maxMounts {
		// EINVAL: not a mount.
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			if err != unix.EINVAL && err != unix.ENOENT {
				return fmt.Errorf("unpin network namespace: %w", &os.PathError{Op: "unmount", Path: path, Err: err})
			}
			break
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unpin network namespace: %w", err)
	}
	return nil
}

// IsNamespace says whether path is the file of a network namespace.
func IsNamespace(path string) bool {
	var st unix.Statfs_t
	// Asked first, since opening something else may have effects.
	if err := unix.Statfs(path, &st); err != nil || st.Type != unix.NSFS_MAGIC {
		return false
	}
	fd, err := openNS(path)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return isNetns(fd)
}

// List returns the paths of the namespaces that are pinned in a directory, in
// order of their names; none if there is no such directory.
func List(dir string) ([]string, error) {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var paths []string
	for _, f := range files {
		if p := filepath.Join(dir, f.Name()); f.Type().IsRegular() && IsNamespace(p) {
			paths = append(paths, p)
		}
	}
	return paths, nil
}
