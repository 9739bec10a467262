package ipt

import (
	"context"
	"fmt"

	"github.com/libnetwork/libnetwork/types"
)

// chainDNS is the chain inside a sandbox. Its name is not one of a firewall's: the
// command in the sandbox may be a daemon itself.
const chainDNS = "DNS"

// A Redirector sets redirects inside sandboxes. It is safe for concurrent use.
type Redirector struct {
	progs programs
}

// NewRedirector finds the programs, as [Open] does.
func NewRedirector(cfg Config) (*Redirector, error) {
	progs, err := find(cfg.Variant, false, cfg.Dirs)
	if err != nil {
		return nil, err
	}
	return &Redirector{progs}, nil
}

// Set leads port 53 of 127.0.0.11, UDP and TCP, in the namespace that nsFD is
// open on, to another port of that address, by translation of addresses. What an
// earlier call left is replaced; if it is as wanted, nothing is written.
func (r *Redirector) Set(ctx context.Context, nsFD int, port uint16) error {
	if port == 0 {
		return types.BadRequestErrorf("redirect of the DNS port: port 0")
	}
	if err := r.change(ctx, nsFD, redirect(redirectFamily(), port)); err != nil {
		return fmt.Errorf("redirecting the DNS port to %d: %w", port, err)
	}
	return nil
}

// Remove takes the redirect away; there being none is no error. It is not needed
// for a namespace that is about to end.
func (r *Redirector) Remove(ctx context.Context, nsFD int) error {
	if err := r.change(ctx, nsFD, nothing()); err != nil {
		return fmt.Errorf("removing the redirect of the DNS port: %w", err)
	}
	return nil
}

func (r *Redirector) change(ctx context.Context, nsFD int, want rules) error {
	out, err := run(ctx, nsFD, nil, "", r.progs.save)
	if err != nil {
		return err
	}
	if text := replace(redirectFamily().parse(out), want).text(); text != "" {
		_, err = run(ctx, nsFD, nil, text, r.progs.restore, "--noflush", "-w")
	}
	return err
}

func redirectFamily() *family {
	f := familyOf(DefaultName, false)
	f.chains, f.inside = map[string][]string{tableNAT: {chainDNS}}, true
	return f
}

// redirect returns the rules. Answers find back by themselves.
func redirect(f *family, port uint16) rules {
	want := nothing()
	nat := want[tableNAT]
	nat.chains[f.chain(chainDNS)] = map[string][]entry{}
	to := fmt.Sprintf("-j DNAT --to-destination %s:%d", resolverAddr, port)
	nat.add(
		f.rule(chainDNS, "", "-p udp -m udp --dport 53", to),
		f.rule(chainDNS, "", "-p tcp -m tcp --dport 53", to),
	)
	nat.hook(f, true, "OUTPUT", "-d "+resolverAddr+"/32", f.to(chainDNS))
	return want
}

// resolverAddr is where a container finds its DNS server.
const resolverAddr = "127.0.0.11"

// RenderRedirect returns the batch of a redirect.
func RenderRedirect(port uint16) string {
	return replace(listing{rules: nothing(), place: 1}, redirect(redirectFamily(), port)).text()
}
