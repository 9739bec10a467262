package ipt

import (
	"log/slog"

	"github.com/libnetwork/libnetwork/internal/step"
)

// DefaultName is what the names of chains of the default data directory begin
// with, in capitals.
const DefaultName = "libnetwork"

// A Variant is one of the two sets of programs, which keep their rules in
// different places of the kernel.
type Variant string

// The variants.
const (
	// Any is whatever iptables-restore is on this host.
	Any Variant = ""
	// NFT keeps its rules in tables of nf_tables that it shares with nobody.
	NFT Variant = "nft"
	// Legacy keeps its rules in ip_tables.
	Legacy Variant = "legacy"
)

// Config says whose firewall it is. The zero value is valid.
type Config struct {
	// Name is what names of chains begin with, in capitals; DefaultName if empty. It
	// has at most 19 letters, digits and dashes.
	Name string
	// Variant chooses the programs.
	Variant Variant
	// Dirs are where the programs are looked for behind those of PATH; by default
	// the usual directories of an administrator's programs.
	Dirs []string
	// NoOwner leaves the flags owner and persist out of the table of links, see package
	// nft.
	NoOwner bool
	// Steps counts batches; nil counts nothing.
	Steps *step.Counter
	// Logger is slog.Default if nil.
	Logger *slog.Logger
}
