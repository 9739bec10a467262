// Package inplace rewrites a small file of lines without giving it a new inode,
// so that nobody who reads it meanwhile meets a torn line.
//
// Files such as /etc/hosts are bind-mounted into containers: a rename would be
// seen only outside. Writing over them is not atomic either: a reader may see
// any mixture of old and new bytes, and after truncation nothing at all. What is
// atomic is the change of one byte, so a line is put in place as a comment and
// then switched on by writing its first byte, and it is switched off by writing
// a # over that byte. Lines that have to move stand in two places for a moment.
//
// Promise, for a reader that takes the file in one read: every line is a
// comment, or a line of the old text, or one of the new; a line that is in both
// texts is always there. The last old line may lack its LF.
// When a file gets shorter the kernel may show such a reader zero bytes behind the
// last line, where the old text ended (tmpfs on 6.18 clears what a read is just
// copying); those who parse these files take them for an empty line.
// Limits: # must start a comment in the file's format; callers serialise the
// writers; a process killed in between leaves comment lines behind, never less
// than the promise. The package is a leaf without state.
package inplace

import (
	"bytes"
	"errors"
	"io"
	"os"
)

// Edit gives the file at path the text that change makes of its content. A file
// that is missing is an error that satisfies errors.Is(err, fs.ErrNotExist).
func Edit(path string, change func(old []byte) []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(edit(f, change), f.Close())
}

// WriteFile gives the file at path the content text and mode 0644, whatever the
// umask is; it is made if it is missing.
func WriteFile(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	err = edit(f, func([]byte) []byte { return text })
	return errors.Join(err, f.Chmod(0o644), f.Close())
}

func edit(f *os.File, change func(old []byte) []byte) error {
	old, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	return Rewrite(f, old, change(old))
}

// File is the part of os.File that Rewrite uses.
type File interface {
	io.WriterAt
	Truncate(size int64) error
}

// Rewrite changes the content of f from old, which it must have, to text.
func Rewrite(f File, old, text []byte) error {
	w := &writer{f: f}
	same := commonLines(old, text)
	tail := text[same:]
	switch {
	case len(old) == same: // the usual case of a new line at the end
		w.put(same, tail)
	case len(tail) == 0:
		w.truncate(len(text))
	default:
		w.move(old, same, tail)
	}
	return w.err
}

// move replaces old[from:] by tail. A second copy of tail behind everything
// serves the readers while the room that the old lines held is used again.
func (w *writer) move(old []byte, from int, tail []byte) {
	size := from + len(tail)
	if tail[len(tail)-1] != '\n' { // or what stands behind it would be part of the line
		tail = append(bytes.Clone(tail), '\n')
	}
	end := max(len(old), from+len(tail))
	if n := len(old); old[n-1] != '\n' || n < end {
		// The gap is one comment; its first byte ends an unfinished line.
		end = max(end, n+2)
		gap := comment(end - n)
		if old[n-1] != '\n' {
			gap[0] = '\n'
		}
		w.write(gap, n)
	}
	w.put(end, tail)
	at := from
	for line := range bytes.Lines(old[from:]) {
		if line[0] != '\n' {
			w.write([]byte{'#'}, at)
		}
		at += len(line)
	}
	w.write(comment(end-from), from)
	w.put(from, tail)
	w.truncate(size)
}

// put writes lines at an offset where there is nothing or a comment: first as
// comments, then each is switched on.
func (w *writer) put(at int, lines []byte) {
	masked := bytes.Clone(lines)
	var starts []int
	start := 0
	for line := range bytes.Lines(lines) {
		if line[0] != '\n' && line[0] != '#' {
			masked[start] = '#'
			starts = append(starts, start)
		}
		start += len(line)
	}
	w.write(masked, at)
	for _, i := range starts {
		w.write(lines[i:i+1], at+i)
	}
}

// comment returns a line of n bytes.
func comment(n int) []byte {
	c := bytes.Repeat([]byte{'#'}, n)
	c[n-1] = '\n'
	return c
}

// commonLines returns the length of the longest run of whole lines that both
// texts begin with; the end of a text ends a line only if the LF is there.
func commonLines(a, b []byte) int {
	n := 0
	for i := 0; i < min(len(a), len(b)) && a[i] == b[i]; i++ {
		if a[i] == '\n' {
			n = i + 1
		}
	}
	return n
}

// writer keeps the first error; nothing is written after it.
type writer struct {
	f   File
	err error
}

func (w *writer) write(b []byte, at int) {
	if w.err == nil && len(b) > 0 {
		_, w.err = w.f.WriteAt(b, int64(at))
	}
}

func (w *writer) truncate(n int) {
	if w.err == nil {
		w.err = w.f.Truncate(int64(n))
	}
}
