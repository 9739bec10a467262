package engine

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/libnetwork/libnetwork/internal/model"
	"github.com/libnetwork/libnetwork/types"
)

// ownerPeriod is how often the processes that own sandboxes are looked at. A
// sandbox whose process ends in peace is deleted by whoever ran it, at once; this
// is for those that are killed.
const ownerPeriod = 500 * time.Millisecond

// Process identifies a running process. It fails with NotFound if there is none.
func Process(pid int) (*model.Process, error) {
	start, err := startTime(pid)
	if err != nil {
		return nil, types.NotFoundErrorf("process %d: %w", pid, err)
	}
	return &model.Process{PID: pid, Start: start}, nil
}

// alive says whether a process still runs, and is the same.
func alive(p model.Process) bool {
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

// startTime reads field 22 of /proc/PID/stat (proc(5)). The second field, in
// brackets, may hold anything. A zombie counts as ended.
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	i := bytes.LastIndexByte(data, ')')
	fields := bytes.Fields(data[i+1:])
	const state, start = 0, 19
	if i < 0 || len(fields) <= start {
		return 0, fmt.Errorf("stat of process %d is not understood", pid)
	}
	if s := string(fields[state]); s == "Z" || s == "X" {
		return 0, fmt.Errorf("process %d has ended", pid)
	}
	return strconv.ParseUint(string(fields[start]), 10, 64)
}

// watchOwners deletes sandboxes whose process has ended, until the engine is
// closed.
func (e *Engine) watchOwners() {
	tick := time.NewTicker(ownerPeriod)
	defer tick.Stop()
	for {
		select {
		case <-e.ctx.Done():
			return
		case <-tick.C:
		}
		for _, s := range e.Sandboxes() {
			if o := s.Record().Owner; o != nil && s.Alive() && !alive(*o) {
				e.log.Info("sandbox is removed", "container", s.ContainerID(), "id", s.ID(), "reason", "its process has ended")
				e.logErr("delete sandbox of container "+s.ContainerID(), s.ID(), ignoreGone(s.Delete(e.ctx)))
			}
		}
	}
}

// ignoreGone drops the error of a deletion that somebody else was quicker with.
func ignoreGone(err error) error {
	if _, ok := err.(types.ForbiddenError); ok {
		return nil
	}
	return err
}
