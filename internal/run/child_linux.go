package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// childName is argv[0] of a child that has not become its command yet.
const childName = "dnet-init"

// ChildMain is to be called first of all in main. In a child of Run or Exec it
// becomes the command and never returns; elsewhere it does nothing.
func ChildMain() {
	if len(os.Args) == 0 || os.Args[0] != childName {
		return
	}
	// The thread that calls exec becomes the process, so it is this one that
	// enters the namespaces.
	runtime.LockOSThread()
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, childName+" is started by dnet run and dnet exec alone")
		os.Exit(CodeFailed)
	}
	fd, err := strconv.Atoi(os.Args[1])
	if err != nil || fd < firstFD {
		fmt.Fprintf(os.Stderr, "%s: %q is no descriptor\n", childName, os.Args[1])
		os.Exit(CodeFailed)
	}
	unix.CloseOnExec(fd)
	sock := os.NewFile(uintptr(fd), "socket of the parent")
	in, out := json.NewDecoder(sock), json.NewEncoder(sock)
	var o order
	if err := in.Decode(&o); err != nil {
		os.Exit(CodeFailed) // the parent has ended or thought better of it
	}
	code := CodeFailed
	err = enter(o)
	if err == nil {
		// The parent looks at the mounts before the command can change them. One
		// that has ended holds up nothing.
		if out.Encode(answer{Thread: unix.Gettid()}) == nil {
			_ = in.Decode(new(struct{}))
		}
		code, err = become(os.Args[2:])
	}
	if out.Encode(answer{Code: code, Text: err.Error()}) != nil {
		fmt.Fprintln(os.Stderr, "dnet:", err)
	}
	os.Exit(code)
}

// become replaces the process by the command. It returns only if it cannot.
func become(args []string) (int, error) {
	path, err := lookUp(args[0], os.Getenv("PATH"))
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return CodeNotExecutable, err
		}
		return CodeNotFound, err
	}
	err = unix.Exec(path, args, os.Environ())
	switch {
	case errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("execute %s: it is there, but not the interpreter that it names: %w", path, err)
	case errors.Is(err, unix.ENOEXEC):
		err = fmt.Errorf("execute %s: neither a program of this machine nor a script with a #! line: %w", path, err)
	default:
		err = fmt.Errorf("execute %s: %w", path, err)
	}
	return CodeNotExecutable, err
}

// lookUp finds the file of a command, as a shell does. The error is
// fs.ErrPermission if there is one that cannot be executed, fs.ErrNotExist if
// there is none.
func lookUp(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		if err := executable(name); err != nil {
			return "", fmt.Errorf("command %s: %w", name, err)
		}
		return name, nil
	}
	err := fmt.Errorf("command %q is not in PATH: %w", name, fs.ErrNotExist)
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if filepath.Base(file) == file {
			file = "./" + file // an empty element is the current directory
		}
		switch e := executable(file); {
		case e == nil:
			return file, nil
		case errors.Is(e, fs.ErrPermission) && errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("command %s: %w", file, e)
		}
	}
	return "", err
}

// executable is nil for a file that this process may execute.
func executable(file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, unix.ENOTDIR):
		return fs.ErrNotExist
	case err != nil:
		return errors.Unwrap(err)
	case info.IsDir():
		return fmt.Errorf("is a directory: %w", fs.ErrPermission)
	case unix.Access(file, unix.X_OK) != nil:
		return fmt.Errorf("is not executable: %w", fs.ErrPermission)
	}
	return nil
}
