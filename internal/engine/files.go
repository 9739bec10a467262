package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/libnetwork/libnetwork/internal/hostsfile"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/resolvfile"
	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// files makes the hosts and resolv.conf files of sandboxes.
type files struct {
	resolvConf string // the host's
	steps      *step.Counter
	log        *slog.Logger
}

func (f files) create(o model.Object) error {
	if err := f.steps.Next("files: create " + o.Key()); err != nil {
		return err
	}
	switch o := o.(type) {
	case model.SandboxDir:
		return os.MkdirAll(o.Path, 0o755)
	case model.SandboxFiles:
		return f.createSandbox(o)
	case model.ResolverConf:
		return f.pointAtServer(o)
	case model.HostsEntry:
		err := addMissing(o.Path, entryRecords(o))
		if errors.Is(err, os.ErrNotExist) {
			f.log.Warn("a container's hosts file is gone: it does not get its own lines", "file", o.Path)
			return nil
		}
		return err
	}
	return fmt.Errorf("%s is not a file", o.Key())
}

func (f files) remove(o model.Object) error {
	if err := f.steps.Next("files: remove " + o.Key()); err != nil {
		return err
	}
	switch o := o.(type) {
	case model.SandboxDir:
		return os.RemoveAll(o.Path)
	case model.SandboxFiles:
		return removeHash(o.Files)
	case model.HostsEntry:
		return ignoreMissing(hostsfile.Delete(o.Path, entryRecords(o)))
	}
	return nil
}

// regular refuses files that are no files: reading a pipe waits for a writer.
// Missing ones are for others to judge.
func regular(paths ...string) error {
	for _, path := range paths {
		st, err := os.Stat(path)
		if path != "" && err == nil && !st.Mode().IsRegular() {
			return types.BadRequestErrorf("%s is not a regular file", path)
		}
	}
	return nil
}

// readFile reads a regular file.
func readFile(path string) ([]byte, error) {
	if err := regular(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

func (f files) createSandbox(o model.SandboxFiles) (err error) {
	files := o.Files
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("files of sandbox %s: %w", short(o.Sandbox), err), removeHash(o.Files))
		}
	}()
	if err := regular(files.Hosts, files.OriginHosts); err != nil {
		return err
	}
	for _, p := range []string{files.Hosts, files.ResolvConf} {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
	}
	if err := f.createHosts(files); err != nil {
		return err
	}
	spec, err := f.spec(files)
	if err != nil {
		return err
	}
	return resolvfile.Create(spec)
}

func (f files) pointAtServer(o model.ResolverConf) error {
	spec, err := f.spec(o.Files)
	if err != nil {
		return err
	}
	if err := resolvfile.OnJoin(spec, o.IPv6); err != nil || !o.Server {
		return err
	}
	_, err = resolvfile.OnResolver(spec)
	return err
}

func (f files) createHosts(files model.Files) error {
	if files.OriginHosts != "" {
		err := hostsfile.Copy(files.Hosts, files.OriginHosts)
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	var extra []hostsfile.Record
	for _, x := range files.Extra {
		extra = append(extra, hostsfile.Record{Hosts: x.Name, IP: x.Addr})
	}
	return hostsfile.Build(files.Hosts, "", "", "", extra)
}

// spec is what a sandbox's resolv.conf is made from.
func (f files) spec(files model.Files) (resolvfile.Spec, error) {
	host, err := readFile(f.resolvConf)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	err = errors.Join(err, regular(files.ResolvConf, files.OriginResolvConf))
	return resolvfile.Spec{
		Path: files.ResolvConf, Origin: files.OriginResolvConf,
		DNS: files.DNS, Search: files.Search, Options: files.Options, Host: host,
	}, err
}

// removeSandbox removes what was made for the engine alone. Files at paths that
// the user gave stay, as the container may.
func removeSandbox(files model.Files) error {
	err := removeHash(files)
	if files.Dir != "" {
		err = errors.Join(err, os.RemoveAll(files.Dir))
	}
	return err
}

func removeHash(files model.Files) error {
	return ignoreMissing(os.Remove(files.ResolvConf + resolvfile.HashSuffix))
}

func entryRecords(o model.HostsEntry) []hostsfile.Record {
	return hostsfile.Own(o.Hostname, o.Domainname, o.Addrs...)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
