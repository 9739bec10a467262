// Package resolvconf reads, filters and writes resolver configuration files
// (resolv.conf(5)).
//
// All functions are safe for concurrent use. Parsing and filtering are pure;
// [Get] and its companions read /etc/resolv.conf, and [GetIfChanged] remembers,
// once for the whole process, what was read last. Text is taken as it comes:
// addresses are checked, domains and options are not.
package resolvconf

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/libnetwork/libnetwork/internal/hostsfile/inplace"
	"github.com/libnetwork/libnetwork/types"
)

const hostPath = "/etc/resolv.conf"

// File is the content of a resolv.conf file and its digest.
type File struct {
	Content []byte
	Hash    string // "sha256:" and the digest of Content in hexadecimal digits
}

// last is what GetIfChanged saw. It is process-wide because the signatures of
// GetIfChanged and GetLastModified leave no other place for it.
var last struct {
	mu   sync.Mutex
	file *File
}

// Get reads the host's /etc/resolv.conf. A missing file is an error that
// satisfies errors.Is(err, fs.ErrNotExist).
func Get() (*File, error) {
	return GetSpecific(hostPath)
}

// GetSpecific reads the file at path.
func GetSpecific(path string) (*File, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read resolver configuration: %w", err)
	}
	return newFile(content), nil
}

// GetIfChanged reads the host's /etc/resolv.conf and returns it if its content
// differs from that of the last call that returned a file. It returns nil and
// no error if nothing changed.
func GetIfChanged() (*File, error) {
	return getIfChanged(hostPath)
}

func getIfChanged(path string) (*File, error) {
	last.mu.Lock()
	defer last.mu.Unlock()
	file, err := GetSpecific(path)
	if err != nil {
		return nil, err
	}
	if last.file != nil && last.file.Hash == file.Hash {
		return nil, nil
	}
	last.file = file
	return file.clone(), nil
}

// GetLastModified returns what [GetIfChanged] returned last, an empty File if
// it was never called.
func GetLastModified() *File {
	last.mu.Lock()
	defer last.mu.Unlock()
	if last.file == nil {
		return &File{}
	}
	return last.file.clone()
}

// Build writes a configuration of the given servers, search domains and options
// to path, mode 0644, and returns what it wrote. The lines come in the order
// search, nameserver, options, each ended by LF. There is no search line if
// dnsSearch is empty or the single domain ".", and no options line if all options
// are blank.
//
// A file that exists keeps its inode, and its readers never meet a torn line. If
// it was longer and somebody keeps it open, a blank line follows.
//
// An entry that would break its line gives a BadRequest error, and nothing is
// written.
func Build(path string, dns, dnsSearch, dnsOptions []string) (*File, error) {
	for _, list := range [][]string{dns, dnsSearch, dnsOptions} {
		for _, s := range list {
			if strings.ContainsAny(s, "\n\r\x00") {
				return nil, types.BadRequestErrorf("resolver configuration entry %q holds a line break", s)
			}
		}
	}
	var b strings.Builder
	if search := strings.TrimSpace(strings.Join(dnsSearch, " ")); search != "" && search != "." {
		b.WriteString("search " + search + "\n")
	}
	for _, s := range dns {
		b.WriteString("nameserver " + s + "\n")
	}
	if options := strings.TrimSpace(strings.Join(dnsOptions, " ")); options != "" {
		b.WriteString("options " + options + "\n")
	}
	file := newFile([]byte(b.String()))
	if err := inplace.WriteFile(path, file.Content); err != nil {
		return nil, fmt.Errorf("write resolver configuration: %w", err)
	}
	return file, nil
}

func newFile(content []byte) *File {
	sum := sha256.Sum256(content)
	return &File{Content: content, Hash: "sha256:" + hex.EncodeToString(sum[:])}
}

func (f *File) clone() *File {
	return &File{Content: append([]byte(nil), f.Content...), Hash: f.Hash}
}
