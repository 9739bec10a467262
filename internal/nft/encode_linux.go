package nft

import (
	"encoding/binary"
	"fmt"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Attributes and flags that golang.org/x/sys does not have.
const (
	flagOwner   = 0x2 // NFT_TABLE_F_OWNER, Linux 5.12
	flagPersist = 0x4 // NFT_TABLE_F_PERSIST, Linux 6.9
	setExpr     = 17  // NFTA_SET_EXPR, Linux 5.7

	// Concatenated intervals, Linux 5.6.
	setConcat  = 0x80 // NFT_SET_CONCAT
	descConcat = 2    // NFTA_SET_DESC_CONCAT
	fieldLen   = 1    // NFTA_SET_FIELD_LEN
	elemKeyEnd = 10   // NFTA_SET_ELEM_KEY_END
)

// maxElems bounds the elements of one message: its list of them is an attribute,
// whose length is a number of 16 bits.
const maxElems = 256

func (b *batch) newTable(fam byte, table string, flags uint32, extra uint16) {
	b.begin(unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|extra, fam)
	b.str(unix.NFTA_TABLE_NAME, table)
	b.u32(unix.NFTA_TABLE_FLAGS, flags)
	b.end()
}

func (b *batch) delTable(fam byte, table string) {
	b.begin(unix.NFT_MSG_DELTABLE, 0, fam)
	b.str(unix.NFTA_TABLE_NAME, table)
	b.end()
}

func (b *batch) newSet(fam byte, table string, s *setDef, id uint32) {
	b.begin(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE|unix.NLM_F_EXCL, fam)
	b.str(unix.NFTA_SET_TABLE, table)
	b.str(unix.NFTA_SET_NAME, s.name)
	b.u32(unix.NFTA_SET_FLAGS, s.flags)
	b.u32(unix.NFTA_SET_KEY_TYPE, s.keyType)
	b.u32(unix.NFTA_SET_KEY_LEN, s.keyLen)
	if s.flags&unix.NFT_SET_MAP != 0 {
		b.u32(unix.NFTA_SET_DATA_TYPE, s.dataType)
		b.u32(unix.NFTA_SET_DATA_LEN, s.dataLen)
	}
	b.u32(unix.NFTA_SET_ID, id)
	if s.counter {
		b.counter(setExpr)
	}
	if s.fields != nil {
		desc := b.nest(unix.NFTA_SET_DESC)
		list := b.nest(descConcat)
		for _, n := range s.fields {
			item := b.nest(unix.NFTA_LIST_ELEM)
			b.u32(fieldLen, n)
			b.close(item)
		}
		b.close(list)
		b.close(desc)
	}
	if s.keyType == typeIfname {
		// Says that keys are in the order of the host, without which the nft
		// program cannot show names of links.
		off := b.nestRaw(unix.NFTA_SET_USERDATA)
		b.buf = binary.NativeEndian.AppendUint32(append(b.buf, 0, 4), 1)
		b.close(off)
	}
	b.end()
}

func (b *batch) newChain(fam byte, table string, c *chainDef, extra uint16) {
	b.begin(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE|extra, fam)
	b.str(unix.NFTA_CHAIN_TABLE, table)
	b.str(unix.NFTA_CHAIN_NAME, c.name)
	if c.hook != "" {
		hook := b.nest(unix.NFTA_CHAIN_HOOK)
		b.u32(unix.NFTA_HOOK_HOOKNUM, c.hooknum)
		b.u32(unix.NFTA_HOOK_PRIORITY, uint32(c.priority))
		b.close(hook)
		b.u32(unix.NFTA_CHAIN_POLICY, 1) // NF_ACCEPT
		b.str(unix.NFTA_CHAIN_TYPE, c.kind)
	}
	b.end()
}

func (b *batch) delChain(fam byte, table, chain string) {
	b.begin(unix.NFT_MSG_DELCHAIN, 0, fam)
	b.str(unix.NFTA_CHAIN_TABLE, table)
	b.str(unix.NFTA_CHAIN_NAME, chain)
	b.end()
}

// flushChain deletes the rules of a chain.
func (b *batch) flushChain(fam byte, table, chain string) {
	b.begin(unix.NFT_MSG_DELRULE, 0, fam)
	b.str(unix.NFTA_RULE_TABLE, table)
	b.str(unix.NFTA_RULE_CHAIN, chain)
	b.end()
}

// newRule puts a rule to the end of a chain, or before the one with that handle if it
// is not 0. The comment goes into the user data unless it is empty.
func (b *batch) newRule(fam byte, table, chain, comment string, exprs []expr.Any, before uint64) error {
	place := uint16(unix.NLM_F_APPEND)
	if before != 0 {
		place = 0
	}
	b.begin(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|place, fam)
	b.str(unix.NFTA_RULE_TABLE, table)
	b.str(unix.NFTA_RULE_CHAIN, chain)
	if before != 0 {
		b.u64(unix.NFTA_RULE_POSITION, before)
	}
	list := b.nest(unix.NFTA_RULE_EXPRESSIONS)
	for _, e := range exprs {
		raw, err := expr.Marshal(fam, e)
		if err != nil {
			return fmt.Errorf("encoding a rule of chain %s: %w", chain, err)
		}
		b.attrString(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, string(raw), false)
	}
	b.close(list)
	if comment != "" {
		b.comment(unix.NFTA_RULE_USERDATA, comment)
	}
	b.end()
	return nil
}

// comment writes user data as the nft program does: type 0, length, text.
func (b *batch) comment(typ uint16, text string) {
	text = text[:min(len(text), 127)]
	off := b.nestRaw(typ)
	b.buf = append(b.buf, 0, byte(len(text)+1))
	b.buf = append(b.buf, text...)
	b.buf = append(b.buf, 0)
	b.close(off)
}

// parseComment is the reverse of comment.
func parseComment(udata []byte) string {
	for len(udata) >= 2 {
		n := int(udata[1])
		if 2+n > len(udata) {
			return ""
		}
		if udata[0] == 0 {
			return cstring(udata[2 : 2+n])
		}
		udata = udata[2+n:]
	}
	return ""
}

// setElems adds or deletes (typ) elements, in as few messages as they fit in.
func (b *batch) setElems(typ uint16, fam byte, table string, elems []elem) {
	for len(elems) > 0 {
		n := 1
		for n < len(elems) && n < maxElems && elems[n].set == elems[0].set {
			n++
		}
		var flags uint16
		if typ == unix.NFT_MSG_NEWSETELEM {
			flags = unix.NLM_F_CREATE
		} else if b.echo {
			flags = unix.NLM_F_ECHO
		}
		b.begin(typ, flags, fam)
		b.str(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		b.str(unix.NFTA_SET_ELEM_LIST_SET, elems[0].set)
		list := b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
		for i := range elems[:n] {
			b.elem(&elems[i], typ == unix.NFT_MSG_NEWSETELEM)
		}
		b.close(list)
		b.end()
		elems = elems[n:]
	}
}

func (b *batch) elem(e *elem, full bool) {
	item := b.nest(unix.NFTA_LIST_ELEM)
	if e.last {
		b.u32(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
	}
	b.value(unix.NFTA_SET_ELEM_KEY, e.key)
	if e.end != "" {
		b.value(elemKeyEnd, e.end)
	}
	if full {
		switch {
		case e.chain != "":
			data := b.nest(unix.NFTA_SET_ELEM_DATA)
			v := b.nest(unix.NFTA_DATA_VERDICT)
			jump := int32(unix.NFT_JUMP)
			b.u32(unix.NFTA_VERDICT_CODE, uint32(jump))
			b.str(unix.NFTA_VERDICT_CHAIN, e.chain)
			b.close(v)
			b.close(data)
		case e.data != "":
			b.value(unix.NFTA_SET_ELEM_DATA, e.data)
		}
		if e.comment != "" {
			b.comment(unix.NFTA_SET_ELEM_USERDATA, e.comment)
		}
		if e.counter {
			b.counter(unix.NFTA_SET_ELEM_EXPR)
		}
	}
	b.close(item)
}

// counter adds a counter to an element, or to a set for each element. It begins at
// one where nobody knows what has been before.
func (b *batch) counter(typ uint16) {
	item := b.nest(typ)
	b.str(unix.NFTA_EXPR_NAME, "counter")
	data := b.nest(unix.NFTA_EXPR_DATA)
	var packets uint64
	if b.lived {
		packets = 1
	}
	b.u64(unix.NFTA_COUNTER_BYTES, 0)
	b.u64(unix.NFTA_COUNTER_PACKETS, packets)
	b.close(data)
	b.close(item)
}

// counted reads the packets that the counter of an element has counted, and
// whether it has one.
func counted(a attrs) (packets uint64, ok bool) {
	item := attrs(a.get(unix.NFTA_SET_ELEM_EXPR))
	if cstring(item.get(unix.NFTA_EXPR_NAME)) != "counter" {
		return 0, false
	}
	v := attrs(item.get(unix.NFTA_EXPR_DATA)).get(unix.NFTA_COUNTER_PACKETS)
	return be64(v), len(v) == 8
}

func (b *batch) value(typ uint16, v string) {
	off := b.nest(typ)
	b.attrString(unix.NFTA_DATA_VALUE, v, false)
	b.close(off)
}

// table adds a whole table.
func (b *batch) table(rs *ruleset, table string, flags uint32) error {
	fam := rs.fam.num
	b.newTable(fam, table, flags, unix.NLM_F_EXCL)
	for i := range rs.sets {
		b.newSet(fam, table, &rs.sets[i], uint32(i+1))
	}
	if err := b.chains(fam, table, rs.chains); err != nil {
		return err
	}
	b.setElems(unix.NFT_MSG_NEWSETELEM, fam, table, rs.elems)
	return nil
}

// chains adds chains, all of them before the first rule, so that rules may name
// any of them.
func (b *batch) chains(fam byte, table string, chains []chainDef) error {
	for i := range chains {
		b.newChain(fam, table, &chains[i], unix.NLM_F_EXCL)
	}
	for i := range chains {
		for _, r := range chains[i].rules {
			err := b.newRule(fam, table, chains[i].name, r.comment(), r.exprs, 0)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// parseElem reads one dumped element.
func parseElem(set string, a attrs) elem {
	e := elem{set: set}
	for typ, v := range a.all {
		switch typ {
		case unix.NFTA_SET_ELEM_KEY:
			e.key = string(attrs(v).get(unix.NFTA_DATA_VALUE))
		case elemKeyEnd:
			e.end = string(attrs(v).get(unix.NFTA_DATA_VALUE))
		case unix.NFTA_SET_ELEM_DATA:
			if vd := attrs(v).get(unix.NFTA_DATA_VERDICT); vd != nil {
				e.chain = cstring(attrs(vd).get(unix.NFTA_VERDICT_CHAIN))
				if jump := int32(unix.NFT_JUMP); be32(attrs(vd).get(unix.NFTA_VERDICT_CODE)) != uint32(jump) {
					e.chain = "not a jump: " + e.chain
				}
				continue
			}
			e.data = string(attrs(v).get(unix.NFTA_DATA_VALUE))
		case unix.NFTA_SET_ELEM_FLAGS:
			e.last = be32(v)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_USERDATA:
			e.comment = parseComment(v)
		case unix.NFTA_SET_ELEM_EXPR:
			_, e.counter = counted(a)
		}
	}
	return e
}

// portNumber reads a port in network order.
func portNumber(s string) uint16 {
	if len(s) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16([]byte(s[:2]))
}
