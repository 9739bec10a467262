//go:build linux || darwin || freebsd

package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/libnetwork/libnetwork/internal/step"
	"github.com/libnetwork/libnetwork/types"
)

// childEnv makes the test binary act as a process that commits until it is
// killed; it holds "data dir,run dir,first number,step setting".
const childEnv = "STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if v := os.Getenv(childEnv); v != "" {
		if err := child(strings.Split(v, ",")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child writes the same number to a network and an endpoint in one call, and
// prints each number that was committed. Every third call is not durable and
// changes two endpoints.
func child(args []string) error {
	first, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	steps, err := step.FromEnv(args[3])
	if err != nil {
		return err
	}
	l, err := Open(context.Background(), Config{DataDir: args[0], RunDir: args[1], BootID: "boot-1", Steps: steps})
	if err != nil {
		return err
	}
	for i := first; ; i++ {
		n := strconv.Itoa(i)
		pad := n + strings.Repeat(" ", i%5000)
		ops := []Op{network("n", n), endpoint("with-n", n), endpoint("a", pad), endpoint("b", pad)}
		if i%3 == 0 {
			ops = ops[2:]
		}
		if err := l.Commit(context.Background(), ops...); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// TestKill kills a committing process again and again, by a signal from
// outside at a random point or by itself before a random transaction. What was
// answered is there, and no call is there by half.
func TestKill(t *testing.T) {
	t.Run("DS-14 a kill at any point leaves whole calls and all that were answered", testKill)
}

func testKill(t *testing.T) {
	cfg := config(t)
	next := 1
	rounds := 50
	if testing.Short() {
		rounds = 10
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(11, uint64(round)))
		setting := ""
		if round%2 == 0 {
			setting = fmt.Sprintf("kill:%d", 1+r.IntN(40))
		}
		last := runChild(t, cfg, next, setting, 1+r.IntN(60))
		got, problems := reread(t, cfg)
		if len(problems) != 0 {
			t.Fatalf("round %d: problems %v", round, problems)
		}
		v := map[string]int{}
		for _, rec := range got {
			n, err := strconv.Atoi(strings.TrimSpace(string(rec.Value)))
			if err != nil {
				t.Fatal(err)
			}
			v[rec.ID] = n
		}
		if v["n"] != v["with-n"] || v["a"] != v["b"] || v["a"] < v["n"] {
			t.Fatalf("round %d: half of a call: %v", round, v)
		}
		if v["a"] < last || v["a"] > last+1 {
			t.Fatalf("round %d: %d was answered, the store holds %v", round, last, v)
		}
		next = v["a"] + 1
	}
	t.Logf("%d commits in %d lives", next-1, rounds)
}

// runChild returns the last number that the child has reported committed.
func runChild(t *testing.T, cfg Config, first int, setting string, lines int) int {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{cfg.DataDir, cfg.RunDir, strconv.Itoa(first), setting}, ","))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := first - 1
	for s := bufio.NewScanner(out); s.Scan(); lines-- {
		if last, err = strconv.Atoi(s.Text()); err != nil {
			t.Fatal(err)
		}
		if lines == 0 && setting == "" {
			_ = cmd.Process.Kill() // and read on what it had still answered
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the child ended with %v, want a kill", err)
	}
	return last
}

// TestPipe has a store file that a reader would wait at for ever.
func TestPipe(t *testing.T) {
	t.Run("a named pipe in place of a file is set aside", func(t *testing.T) {
		cfg := filled(t)
		if err := errors.Join(os.Remove(dataPath(cfg)), syscall.Mkfifo(dataPath(cfg), 0o600)); err != nil {
			t.Fatal(err)
		}
		got, problems := reread(t, cfg)
		wantRecords(t, []Record{ep1, net1}, got)
		if len(problems) != 2 {
			t.Errorf("problems %v, want the file and where its records came from", problems)
		}
		wantAside(t, dataPath(cfg), 1)
	})
}

// TestLockOfOtherProcess meets a living owner, and then what a dead one left.
func TestLockOfOtherProcess(t *testing.T) {
	cfg := config(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join([]string{cfg.DataDir, cfg.RunDir, "1", ""}, ","))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if s := bufio.NewScanner(out); !s.Scan() {
		t.Error("the child committed nothing")
	}
	_, err = Open(t.Context(), cfg)
	if _, ok := err.(types.ForbiddenError); !ok || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", cmd.Process.Pid)) {
		t.Errorf("Open beside the owner %d: %v", cmd.Process.Pid, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	open(t, cfg)
}

// TestLockNotInherited closes the store while a child process lives on.
func TestLockNotInherited(t *testing.T) {
	cfg := config(t)
	l := open(t, cfg)
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip("no cat:", err)
	}
	_ = l.Close()
	open(t, cfg)
	_ = in.Close()
	_ = cmd.Wait()
}
