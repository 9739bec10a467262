package engine

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/libnetwork/libnetwork/internal/hostsfile"
	"github.com/libnetwork/libnetwork/internal/hostsfile/inplace"
	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/internal/resolvfile"
)

// removeEnded removes what Recover does not find: the files of sandboxes that
// are forgotten now, and what is ours in namespaces of somebody else.
func (e *Engine) removeEnded(ctx context.Context, l *loaded, ended map[string]bool) {
	for _, sb := range l.sandboxes {
		if ended[sb.ID] {
			e.logErr("remove files of sandbox", sb.ID, removeSandbox(sb.Files))
		}
		waits := sb.External && sb.Path == ""
		if waits || ended[sb.ID] && (sb.External || e.kernel.NamespaceAlive(sb.Spare())) {
			e.logErr("leave namespace of sandbox", sb.ID, e.kernel.Delete(ctx, []model.Object{model.Redirect{Netns: sb.Key}}))
			e.logErr("leave namespace of sandbox", sb.ID, e.kernel.Delete(ctx, []model.Object{model.Namespace{Path: sb.Key}}))
		}
	}
}

// repairFiles brings the files of a sandbox to what its record says: an operation
// may have been cut short.
func (e *Engine) repairFiles(s *Sandbox) {
	f := files{resolvConf: e.cfg.ResolvConf, steps: e.cfg.Steps, log: e.log}
	e.logErr("repair files of container "+s.ContainerID(), s.ID(), f.repair(s.View()))
}

// repair makes missing files again and puts the sandbox's own lines right. What
// is as it shall be is not written.
func (f files) repair(v *model.View) error {
	sb := v.Sandbox
	var errs []error
	for _, p := range []string{sb.Files.Hosts, sb.Files.ResolvConf} {
		if _, err := os.Stat(p); errors.Is(err, os.ErrNotExist) {
			errs = append(errs, f.create(model.SandboxFiles{Sandbox: sb.ID, Files: sb.Files}))
			break
		}
	}
	if sb.Files.OriginHosts == "" {
		var asked []hostsfile.Record
		for _, x := range sb.Files.Extra {
			asked = append(asked, hostsfile.Record{Hosts: x.Name, IP: x.Addr})
		}
		errs = append(errs, addMissing(sb.Files.Hosts, asked))
	}
	var own []hostsfile.Record
	for _, o := range v.Objects() {
		switch o := o.(type) {
		case model.HostsEntry:
			own = append(own, entryRecords(o)...)
			errs = append(errs, addMissing(o.Path, entryRecords(o)))
		case model.ResolverConf:
			errs = append(errs, f.pointAtServer(o))
		}
	}
	return errors.Join(append(errs, dropStale(sb.Files, own))...)
}

// dropStale removes lines of the sandbox's own name for addresses that it does
// not have, and what a kill amid an edit has left of such a line.
func dropStale(f model.Files, own []hostsfile.Record) error {
	if f.Hostname == "" || f.OriginHosts != "" {
		return nil
	}
	text, err := readFile(f.Hosts)
	if err != nil {
		return err
	}
	names := hostsfile.Own(f.Hostname, f.Domainname, netip.IPv4Unspecified())[0].Hosts
	var stale []hostsfile.Record
	for line := range strings.Lines(string(text)) {
		ip, ok := strings.CutSuffix(strings.TrimRight(line, "\r\n"), "\t"+names)
		r := hostsfile.Record{Hosts: names, IP: ip}
		asked := slices.Contains(f.Extra, model.ExtraHost{Name: names, Addr: ip})
		if ok && !asked && (isAddr(ip) && !slices.Contains(own, r) || torn(ip, names, own)) {
			stale = append(stale, r)
		}
	}
	if len(stale) == 0 {
		return nil
	}
	return hostsfile.Delete(f.Hosts, stale)
}

func isAddr(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// torn says that s is an address whose first byte is masked, see package inplace.
// An address of the sandbox behind a # is a line that somebody has switched off.
func torn(s, names string, own []hostsfile.Record) bool {
	rest, masked := strings.CutPrefix(s, "#")
	if !masked || slices.Contains(own, hostsfile.Record{Hosts: names, IP: rest}) {
		return false
	}
	return slices.ContainsFunc(strings.Split("0123456789abcdef:", ""), func(first string) bool {
		return isAddr(first + rest)
	})
}

// addMissing adds those lines that are not there: an undo makes again what may
// never have gone.
func addMissing(path string, recs []hostsfile.Record) error {
	text, err := readFile(path)
	if err != nil {
		return err
	}
	lines := strings.Split(string(text), "\n")
	return hostsfile.Add(path, slices.DeleteFunc(recs, func(r hostsfile.Record) bool {
		return slices.Contains(lines, r.IP+"\t"+r.Hosts)
	}))
}

// saveFiles remembers what a sandbox's files hold, for a change that makes them
// anew and may fail.
func saveFiles(f model.Files) (restore func() error) {
	hosts, err := readFile(f.Hosts)
	resolver := saveResolver(f)
	return func() error {
		if err != nil {
			return resolver()
		}
		now, err := readFile(f.Hosts)
		if err == nil && !bytes.Equal(now, hosts) {
			err = inplace.WriteFile(f.Hosts, hosts)
		}
		return errors.Join(ignoreMissing(err), resolver())
	}
}

// saveResolver remembers a sandbox's resolv.conf, for a change that points it at
// a server and may fail.
func saveResolver(f model.Files) (restore func() error) {
	if regular(f.ResolvConf) != nil {
		return func() error { return nil } // for the change to refuse
	}
	return resolvfile.Save(f.ResolvConf)
}
