package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Turns come in the order in which they were asked for, a writer alone, readers
// together; who gives up makes way and takes nobody's turn.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts turns
		first, err := ts.take(t.Context(), exclusive("sandbox", "a"))
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex // guards got
		got := []string{}
		release := make(map[string]chan struct{})
		wait := func(ctx context.Context, name string, w turn) {
			release[name] = make(chan struct{})
			go func() {
				done, err := ts.take(ctx, w)
				if err != nil {
					return
				}
				mu.Lock()
				got = append(got, name)
				mu.Unlock()
				<-release[name]
				done()
			}()
			synctest.Wait()
		}
		admitted := func(want ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(got, want) {
				t.Errorf("admitted are %v, want %v", got, want)
			}
			got = nil
		}
		tired, giveUp := context.WithCancel(t.Context())
		wait(t.Context(), "reader 1", shared("sandbox", "a"))
		wait(t.Context(), "reader 2", shared("sandbox", "a"))
		wait(tired, "tired", exclusive("sandbox", "a"))
		wait(t.Context(), "writer", exclusive("sandbox", "a"))
		wait(t.Context(), "reader 3", shared("sandbox", "a"))
		wait(t.Context(), "stranger", exclusive("sandbox", "b"))
		admitted("stranger")
		giveUp()
		admitted()
		if _, err := ts.take(tired, shared("sandbox", "c")); !errors.Is(err, context.Canceled) {
			t.Errorf("take with an ended context: %v", err)
		}
		first()
		synctest.Wait()
		slices.Sort(got) // the readers come together
		admitted("reader 1", "reader 2")
		close(release["reader 1"])
		admitted()
		close(release["reader 2"])
		admitted("writer")
		close(release["writer"])
		admitted("reader 3")
		close(release["reader 3"])
		close(release["stranger"])
		synctest.Wait()
		if len(ts.queues) != 0 {
			t.Errorf("%d queues left", len(ts.queues))
		}
	})
}

// Whatever is taken and given, a writer is alone, and nothing stays behind.
func TestTurnsExclude(t *testing.T) {
	var ts turns
	var counts [4]struct{ readers, writers atomic.Int32 }
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 200 {
				k := rand.IntN(len(counts))
				c := &counts[k]
				ctx, cancel := context.WithCancel(t.Context())
				if rand.IntN(4) == 0 {
					go cancel()
				}
				if rand.IntN(3) == 0 {
					if done, err := ts.take(ctx, exclusive("x", strconv.Itoa(k))); err == nil {
						if c.writers.Add(1) != 1 || c.readers.Load() != 0 {
							t.Error("a writer is not alone")
						}
						c.writers.Add(-1)
						done()
					}
				} else if done, err := ts.take(ctx, shared("x", strconv.Itoa(k))); err == nil {
					c.readers.Add(1)
					if c.writers.Load() != 0 {
						t.Error("a reader beside a writer")
					}
					c.readers.Add(-1)
					done()
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if len(ts.queues) != 0 {
		t.Errorf("%d queues left", len(ts.queues))
	}
}
