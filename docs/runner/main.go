//go:build linux

// Command runner runs a command in a container's network: the example of
// docs/embedding.md. It needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/libnetwork/libnetwork"
	"github.com/libnetwork/libnetwork/config"
	"github.com/libnetwork/libnetwork/types"
)

// childName is argv[0] of the process that becomes the command.
const childName = "runner-child"

func main() {
	if os.Args[0] == childName {
		fmt.Fprintln(os.Stderr, "runner:", become(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5:]))
		os.Exit(1)
	}
	data := flag.String("data", "/var/lib/runner", "directory of the network's state")
	name := flag.String("name", "c1", "name of the container")
	publish := flag.Uint("publish", 0, "port of the host that leads to port 80 of the container")
	flag.Parse()
	code, err := run(*data, *name, uint16(*publish), flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "runner:", err)
		os.Exit(125)
	}
	os.Exit(code)
}

func run(data, name string, publish uint16, command []string) (code int, err error) {
	if len(command) == 0 {
		return 0, errors.New("which command?")
	}
	controller, err := libnetwork.New(config.OptionDataDir(data))
	if err != nil {
		return 0, err
	}
	defer controller.Stop()
	network, err := controller.NetworkByName("runner")
	if errors.As(err, new(types.NotFoundError)) {
		network, err = controller.NewNetwork("bridge", "runner")
	}
	if err != nil {
		return 0, err
	}
	hosts, resolv := data+"/"+name+".hosts", data+"/"+name+".resolv"
	options := []libnetwork.SandboxOption{
		libnetwork.OptionHostname(name), libnetwork.OptionHostsPath(hosts), libnetwork.OptionResolvConfPath(resolv),
	}
	if publish != 0 {
		options = append(options, libnetwork.OptionPortMapping([]types.PortBinding{{Proto: types.TCP, Port: 80, HostPort: publish}}))
	}
	sandbox, err := controller.NewSandbox(name, options...)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, sandbox.Delete()) }()
	endpoint, err := network.CreateEndpoint(name)
	if err != nil {
		return 0, err
	}
	if err := endpoint.Join(sandbox); err != nil {
		return 0, errors.Join(err, endpoint.Delete(true))
	}
	child := exec.CommandContext(context.Background(), "/proc/self/exe", append([]string{sandbox.Key(), hosts, resolv, name}, command...)...)
	child.Args[0] = childName
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	signal.Notify(make(chan os.Signal, 1), os.Interrupt) // is for the command: we still have to clean up
	err = child.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// become enters the sandbox and turns into the command. Namespaces belong to a
// thread: that one must be the one that executes.
func become(key, hosts, resolv, hostname string, command []string) error {
	runtime.LockOSThread()
	path, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	ns, err := os.Open(key)
	if err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET) },
		func() error { return unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS) },
		func() error { return unix.Sethostname([]byte(hostname)) },
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "") },
		func() error { return unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, "") },
		func() error { return unix.Mount(resolv, "/etc/resolv.conf", "", unix.MS_BIND, "") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return unix.Exec(path, command, os.Environ())
}
