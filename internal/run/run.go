// Package run runs a plain command in the namespaces of a container.
//
// The command is a child of the calling process. It is started as this
// program's own executable under a hidden name, which waits until the container
// is made, enters it, and becomes the command: the process id and the start
// time stay, so a container that belongs to the child belongs to the command. A
// program that uses the package calls [ChildMain] first of all in main.
//
// Run and Exec are safe for concurrent use; while one is at work the process
// does not react to the signals that it passes on. Files of the host that are
// replaced by renaming, as many tools replace /etc/resolv.conf, take away what
// is mounted over them in every mount namespace; while Run waits, it mounts the
// container's files again where that happens.
package run

import (
	"context"
	"os"
)

// The exit codes that are not the command's own.
const (
	CodeFailed        = 125 // the command was not started
	CodeNotExecutable = 126 // the command was found and cannot be executed
	CodeNotFound      = 127 // the command was not found
	codeSignal        = 128 // and the number of the signal that ended the command
)

// Command is what runs.
type Command struct {
	// Args are the command and its arguments, byte for byte. A command without
	// a slash is looked up in the PATH of Env.
	Args []string
	// Env is the whole environment; nil means that of this process.
	Env []string
	// Dir is the working directory; empty means that of this process.
	Dir string
	// Stdin, Stdout and Stderr are handed on as they are; nil means /dev/null.
	Stdin, Stdout, Stderr *os.File
}

// Container is what a command sees of a container.
type Container struct {
	// Netns is the file of the network namespace; empty is that of the host.
	Netns string `json:"netns,omitempty"`
	// Hosts and ResolvConf are the files that stand for /etc/hosts and
	// /etc/resolv.conf; empty leaves those of the host.
	Hosts      string `json:"hosts,omitempty"`
	ResolvConf string `json:"resolv_conf,omitempty"`
	// Hostname gives the command a host name of its own; empty leaves the host's.
	Hostname string `json:"hostname,omitempty"`
}

// Spec is a command with a container of its own.
type Spec struct {
	Command Command
	// Create makes the container. The process pid waits for it and becomes the
	// command. An error means that there is no container.
	Create func(ctx context.Context, pid int) (Container, error)
	// Remove takes the container away after the command has ended; nil leaves
	// that to others. An error of class NotFound is passed over.
	Remove func(context.Context) error
}

// ExecSpec is one more command for a container that is there.
type ExecSpec struct {
	Command Command
	// Container is entered as Run does it, unless Owner has namespaces.
	Container Container
	// Owner is the process that the container belongs to, if any. Where it has
	// mounts of its own, these and its host name are joined: the command sees
	// what the owner sees.
	Owner Process
}

// Process is a process that cannot be mistaken for a later one of the same id.
type Process struct {
	PID int `json:"pid,omitempty"`
	// Start is field 22 of /proc/PID/stat, clock ticks since the boot; 0 is not
	// compared.
	Start uint64 `json:"start,omitempty"`
}
