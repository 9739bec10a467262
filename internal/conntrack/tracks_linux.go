package conntrack

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

const protoSrcPort = 2 // CTA_PROTO_SRC_PORT

// Tracks says whether the kernel knows the connection of a socket of this host, whoever began
// it: what the socket sends is one of the two directions, also where the connection is
// translated. It says so too where the kernel cannot be asked.
func (f *Flusher) Tracks(ctx context.Context, proto uint8, local, remote netip.AddrPort) (known bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if f.absent.Load() {
		return true, nil
	}
	if empty() {
		return false, nil
	}
	f.running.Lock()
	defer f.running.Unlock()
	if f.sock == nil {
		if f.sock, err = dial(); err != nil {
			return false, fmt.Errorf("looking for a connection: %w", err)
		}
	}
	v6, src, dst := local.Addr().Is6(), uint16(v4Src), uint16(v4Dst)
	if v6 {
		src, dst = v6Src, v6Dst
	}
	ip := appendAttr(appendAttr(nil, src, local.Addr().AsSlice()), dst, remote.Addr().AsSlice())
	ports := appendAttr(nil, protoNum, []byte{proto})
	ports = appendAttr(ports, protoSrcPort, binary.BigEndian.AppendUint16(nil, local.Port()))
	ports = appendAttr(ports, protoDstPort, binary.BigEndian.AppendUint16(nil, remote.Port()))
	tuple := appendAttr(nil, tupleIP|unix.NLA_F_NESTED, ip)
	tuple = appendAttr(tuple, tupleProto|unix.NLA_F_NESTED, ports)
	// The kernel looks in both directions for what is called the original one here.
	request := f.sock.appendRequest(nil, msgGet, unix.NLM_F_ACK, v6, appendAttr(nil, attrOrig|unix.NLA_F_NESTED, tuple))
	err = f.sock.exchange(request, 1, nil)
	switch {
	case errors.Is(err, unix.ENOENT):
		return false, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
		return true, nil
	}
	return err == nil, err
}
