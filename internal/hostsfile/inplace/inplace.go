// Package inplace rewrites a small file of lines without giving it a new inode,
// so that nobody who reads it meanwhile meets a torn line.
//
// Files such as /etc/hosts are bind-mounted into containers: a rename would be
// seen only outside. Writing over them is not atomic either: a read copies byte
// by byte and may be held up anywhere, so a reader may see any mixture of old and
// new bytes, and behind a new end, zero bytes. So:
//
//   - A new line is put at the end as a comment and switched on by writing its
//     first byte. That is safe for every reader: the kernel moves the end of a
//     file after the bytes are there.
//   - All else is done while nobody has the file open, which a write lease
//     guarantees (fcntl(2), F_SETLEASE); who opens the file then waits for us.
//   - If somebody keeps the file open, lines are switched off by writing a # over
//     their first byte, lines that have to move stand in two places for a while,
//     and bytes are used again only when a read that has seen them before must be
//     over. Such a file does not get shorter: what is left over is blank, and
//     goes with the next edit that gets the lease. It has at most three times the
//     length of its longest text.
//
// Promise: to a reader that takes the file in one read every line is blank, or a
// comment, or a line of the old text, or one of the new; a line that is in both
// texts is always there; there is no byte that nobody wrote. The last old line may
// lack its LF. A process killed in between leaves comment lines behind, never less
// than the promise.
// Limits: # must start a comment in the file's format, also behind blanks;
// callers serialise the writers; a reader that has the file open for longer than
// patience and is held up for longer than grace in one read is not protected. The
// package is a leaf without state.
package inplace

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"time"
)

const (
	// patience is how long an edit waits for others to close the file.
	patience = 50 * time.Millisecond
	// grace is longer than a read of the file takes, also on a busy machine.
	grace = 20 * time.Millisecond
)

// Edit gives the file at path the text that change makes of its text, which is
// its content without blank lines at the end. change may be called twice. A file
// that is missing is an error that satisfies errors.Is(err, fs.ErrNotExist).
func Edit(path string, change func(old []byte) []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(edit(f, change), f.Close())
}

// WriteFile gives the file at path the text and mode 0644, whatever the umask
// is; it is made if it is missing.
func WriteFile(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	err = edit(f, func([]byte) []byte { return text })
	return errors.Join(err, f.Chmod(0o644), f.Close())
}

func edit(f *os.File, change func(old []byte) []byte) error {
	content, text, err := plan(f, change)
	if err != nil || bytes.Equal(content, text) {
		return err
	}
	if grows(content, text) {
		return Rewrite(f, content, text, nil)
	}
	wait := patience
	if bytes.Equal(Text(content), text) {
		wait = 0 // all there is to do is to drop blank lines
	}
	release, alone := lease(f, wait)
	defer release()
	if content, text, err = plan(f, change); err != nil { // it may have been written to meanwhile
		return err
	}
	if !alone {
		return Rewrite(f, content, text, func() { time.Sleep(grace) })
	}
	if err := Rewrite(f, content, text, nil); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)))
}

// plan returns the file's content and the text that it shall have.
func plan(f *os.File, change func(old []byte) []byte) (content, text []byte, err error) {
	content, err = io.ReadAll(io.NewSectionReader(f, 0, math.MaxInt64))
	if err != nil {
		return nil, nil, err
	}
	return content, change(bytes.Clone(Text(content))), nil
}

// grows says that the text is the content with lines behind it.
func grows(content, text []byte) bool {
	return len(Text(content)) == len(content) && commonLines(content, text) == len(content)
}

// Text returns a file's content without the blank lines at its end.
func Text(content []byte) []byte {
	last := len(bytes.TrimRight(content, " \t\n"))
	if last == 0 {
		return nil
	}
	if i := bytes.IndexByte(content[last:], '\n'); i >= 0 {
		return content[:last+i+1]
	}
	return content
}

// Rewrite changes f from content, which it must have, to text, followed by a
// blank line if it has become longer than that. outwait returns when all reads
// have ended that were going on when it was called; nil: there are none, or the
// text only grows.
func Rewrite(f io.WriterAt, content, text []byte, outwait func()) error {
	w := &writer{f: f, outwait: outwait}
	old := Text(content)
	same := commonLines(old, text)
	live, tail := old[same:], text[same:]
	size := max(len(content), len(text))
	if len(tail) > 0 && tail[len(tail)-1] != '\n' && size > len(text) {
		tail = append(bytes.Clone(tail), '\n') // or what follows would be part of the line
	}
	switch {
	case len(live) == 0 && len(tail) == 0:
		return nil
	case len(live) == 0: // the usual case of a new line at the end
		w.blankOff(content, same, same+len(tail))
		w.put(same, tail)
	case len(tail) == 0:
		w.switchOff(same, live)
	default:
		size, tail = w.move(content, same, tail)
	}
	w.clear(same+len(tail), size)
	return w.err
}

// move replaces the lines of content from an offset on by tail. A second copy of
// tail behind everything serves the readers while the room that the old lines
// held is used again. It returns the file's new size, and tail as it was written;
// what is behind it there is comments.
func (w *writer) move(content []byte, from int, tail []byte) (size int, written []byte) {
	if tail[len(tail)-1] != '\n' {
		tail = append(bytes.Clone(tail), '\n')
	}
	old := Text(content)
	n := len(old)
	second := max(n, from+len(tail)) // where the copy begins
	unfinished := old[n-1] != '\n'
	if unfinished {
		second = max(second, n+2)
	}
	w.blankOff(content, n, second+len(tail))
	if n < second {
		// The gap is one comment; its first byte ends an unfinished line.
		gap := comment(second - n)
		if unfinished {
			gap[0] = '\n'
		}
		w.write(gap, n)
	}
	w.put(second, tail)
	w.wait()
	w.switchOff(from, old[from:])
	w.write(comment(second-from), from)
	w.wait()
	w.put(from, tail)
	w.wait()
	w.switchOff(second, tail)
	return max(len(content), second+len(tail)), tail
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

// blankOff makes a comment of the blank lines at the end of content, which begin
// at an offset. It goes to an offset where it ends the file, if need be: no line is
// then written over the old end, where a read may stop.
func (w *writer) blankOff(content []byte, from, to int) {
	if from < len(content) {
		w.write(comment(max(len(content), to)-from), from)
		w.wait()
	}
}

// switchOff makes comments of the lines at an offset.
func (w *writer) switchOff(at int, lines []byte) {
	for line := range bytes.Lines(lines) {
		if line[0] != '\n' && line[0] != '#' {
			w.write([]byte{'#'}, at)
		}
		at += len(line)
	}
	w.wait()
}

// clear makes a blank line of what stands between two offsets, where there are
// only comments.
func (w *writer) clear(from, to int) {
	if n := to - from; n > 0 {
		w.write(comment(n), from)
		w.write(append(bytes.Repeat([]byte{' '}, n-1), '\n'), from)
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
	f       io.WriterAt
	outwait func()
	err     error
}

func (w *writer) wait() {
	if w.err == nil && w.outwait != nil {
		w.outwait()
	}
}

func (w *writer) write(b []byte, at int) {
	if w.err == nil && len(b) > 0 {
		_, w.err = w.f.WriteAt(b, int64(at))
	}
}
