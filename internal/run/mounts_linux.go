package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	hostsFile  = "/etc/hosts"
	resolvFile = "/etc/resolv.conf"
	sysDir     = "/sys"
)

// resolverDirs hold the sockets of resolvers of the host, which would answer
// with the host's names and past our server. What else is in them is for these
// programs alone, but for the files of systemd-resolved that stand for
// /etc/resolv.conf.
var resolverDirs = []string{"/run/nscd", "/var/run/nscd", "/run/systemd/resolve"}

// resolvedFiles are those files.
var resolvedFiles = []string{"resolv.conf", "stub-resolv.conf"}

// A bind is a file mounted over another one.
type bind struct{ from, to string }

// binds are the files of a container.
func binds(c Container) []bind {
	return slices.DeleteFunc([]bind{{c.Hosts, hostsFile}, {c.ResolvConf, resolvFile}}, func(b bind) bool { return b.from == "" })
}

// furnish makes the fresh mount namespace of the thread that of the container.
func furnish(c Container) error {
	// What the host mounts later appears here too, and what it unmounts goes:
	// else other containers' namespaces would live as long as this command.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("take the mounts from the host: %w", err)
	}
	if err := renewSys(); err != nil {
		return err
	}
	if c.ResolvConf != "" {
		for _, dir := range resolverDirs {
			if err := hide(dir, c.ResolvConf); err != nil {
				return fmt.Errorf("hide the host's resolver in %s: %w", dir, err)
			}
		}
	}
	var lost []string
	for _, b := range binds(c) {
		if _, err := os.Stat(b.from); err != nil {
			return fmt.Errorf("file of the container: %w", err)
		}
		if _, err := os.Stat(b.to); isNowhere(err) {
			lost = append(lost, b.to)
		}
	}
	if len(lost) > 0 {
		if err := copyEtc(lost); err != nil {
			return fmt.Errorf("%s does not exist (create an empty file), and a copy of /etc cannot be made: %w", lost[0], err)
		}
		fmt.Fprintf(os.Stderr, "dnet: the host has no %s: the command sees a copy of /etc, and what it changes there is lost\n", strings.Join(lost, " and no "))
	}
	for _, b := range binds(c) {
		if err := mountFile(b); err != nil {
			return err
		}
	}
	return nil
}

// isNowhere knows the error of a file that is not there, or a link to nowhere.
func isNowhere(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}

// mountFile mounts a file over another one, or over what that one links to.
func mountFile(b bind) error {
	if err := unix.Mount(b.from, b.to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", b.from, b.to, err)
	}
	return nil
}

// hide puts a read-only directory in the place of one, if there is one. Of the
// files in it only those remain that stand for resolv.conf.
func hide(dir, resolvConf string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	keep := slices.DeleteFunc(slices.Clone(resolvedFiles), func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err != nil
	})
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755,size=64k,nr_inodes=16"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	for _, name := range keep {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			return err
		}
		if err := mountFile(bind{resolvConf, file}); err != nil {
			return err
		}
	}
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	return os.NewSyscallError("remount", unix.Mount("", dir, "", flags, ""))
}

// copyEtc mounts a copy of /etc on it in which there are these files, empty: a
// file can be mounted only on one that is there, and the host gets none of ours.
func copyEtc(files []string) error {
	etc, err := os.Open("/etc")
	if err != nil {
		return err
	}
	defer etc.Close()
	// The layers are looked up before the overlay covers the tmpfs, and the
	// tmpfs covers /etc.
	if err := unix.Mount("tmpfs", "/etc", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=700"); err != nil {
		return os.NewSyscallError("mount tmpfs", err)
	}
	if err := errors.Join(os.Mkdir("/etc/upper", 0o755), os.Mkdir("/etc/work", 0o755)); err != nil {
		return err
	}
	layers := fmt.Sprintf("lowerdir=/proc/self/fd/%d,upperdir=/etc/upper,workdir=/etc/work", etc.Fd())
	if err := unix.Mount("overlay", "/etc", "overlay", unix.MS_NOSUID|unix.MS_NODEV, layers); err != nil {
		return os.NewSyscallError("mount overlay", err)
	}
	for _, file := range files {
		// A link that leads nowhere is in the way.
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// renewSys mounts the /sys of the thread's network namespace, and what is
// mounted in the old one on it again.
func renewSys() error {
	var top unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, sysDir, 0, unix.STATX_MNT_ID, &top)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	var old unix.Statfs_t
	if err := errors.Join(err, unix.Statfs(sysDir, &old)); err != nil {
		return fmt.Errorf("%s: %w", sysDir, err)
	}
	info, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	trees := map[string]int{}
	defer func() {
		for _, fd := range trees {
			_ = unix.Close(fd)
		}
	}()
	for line := range strings.Lines(string(info)) {
		m, ok := parseMount(line)
		if !ok || m.parent != int(top.Mnt_id) || !strings.HasPrefix(m.point, sysDir+"/") {
			continue
		}
		const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_RECURSIVE | unix.AT_NO_AUTOMOUNT
		// What cannot be seen twice is not seen.
		if fd, err := unix.OpenTree(unix.AT_FDCWD, m.point, flags); err == nil {
			trees[m.point] = fd
		}
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if old.Flags&unix.ST_RDONLY != 0 {
		flags |= unix.MS_RDONLY
	}
	err = unix.Mount("sysfs", sysDir, "sysfs", flags, "")
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil // it is there already: the container is on the host's network
	case err != nil:
		return fmt.Errorf("mount %s of the container's network: %w", sysDir, err)
	}
	for point, fd := range trees {
		err := unix.MoveMount(fd, "", unix.AT_FDCWD, point, unix.MOVE_MOUNT_F_EMPTY_PATH)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("mount %s again: %w", point, err)
		}
	}
	return nil
}
