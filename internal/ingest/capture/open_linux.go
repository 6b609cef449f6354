package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Kinds of interfaces, ARPHRD_… of Linux.
const (
	arpEther    = 1
	arpPPP      = 512
	arpTunnel   = 768
	arpLoopback = 772
	arpSIT      = 776
	arpGRE      = 778
	arpRaw      = 519
	arpNone     = 65534 // tun, WireGuard
)

// linkOf tells what stands in front of the IP header.
func linkOf(kind int) (layers.LinkType, bool) {
	switch kind {
	case arpEther, arpLoopback:
		return layers.LinkTypeEthernet, true
	case arpPPP, arpTunnel, arpSIT, arpGRE, arpRaw, arpNone:
		return layers.LinkTypeRaw, true
	}
	return 0, false
}

// packetSocket is an AF_PACKET socket.
type packetSocket struct{ h *pcapgo.EthernetHandle }

func open(cfg Config) (handle, layers.LinkType, error) {
	kind, err := os.ReadFile(filepath.Join("/sys/class/net", filepath.Base(cfg.Interface), "type"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, errors.New("there is no such interface")
	}
	if err != nil {
		return nil, 0, fmt.Errorf("kind of the interface: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(kind)))
	if err != nil {
		return nil, 0, fmt.Errorf("kind of the interface: %w", err)
	}
	link, ok := linkOf(n)
	if !ok {
		return nil, 0, fmt.Errorf("an interface of kind %d is not read (Ethernet and IP tunnels are)", n)
	}
	h, err := pcapgo.NewEthernetHandle(cfg.Interface)
	if err != nil {
		if os.Geteuid() != 0 {
			err = fmt.Errorf("%w (it needs CAP_NET_RAW)", err)
		}
		return nil, 0, err
	}
	err = configure(h, cfg)
	if err == nil && n == arpLoopback {
		err = onlyIncoming(h)
	}
	if err != nil {
		_ = h.Close() // the first error tells more
		return nil, 0, err
	}
	return packetSocket{h}, link, nil
}

func configure(h *pcapgo.EthernetHandle, cfg Config) error {
	if err := h.SetCaptureLength(cfg.Snaplen); err != nil {
		return fmt.Errorf("snaplen: %w", err)
	}
	if cfg.Promiscuous {
		if err := h.SetPromiscuous(true); err != nil {
			return fmt.Errorf("promiscuous: %w", err)
		}
	}
	return nil
}

// onlyIncoming leaves out what is sent: a loopback shows it twice, sent and
// received.
func onlyIncoming(h *pcapgo.EthernetHandle) error {
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 18},
		bpf.RetConstant{Val: 0},
	})
	if err == nil {
		err = h.SetBPF(program)
	}
	if err != nil {
		return fmt.Errorf("filter of the loopback: %w", err)
	}
	return nil
}

func (s packetSocket) next() (ts int64, data []byte, length int, err error) {
	data, ci, err := s.h.ZeroCopyReadPacketData()
	return ci.Timestamp.UnixMicro(), data, ci.Length, err
}

func (s packetSocket) stats() (Stats, error) {
	st, err := s.h.Stats()
	if err != nil {
		return Stats{}, fmt.Errorf("counters of the interface: %w", err)
	}
	return Stats{Received: uint64(st.Packets), Dropped: uint64(st.Drops)}, nil
}

func (s packetSocket) close() error { return s.h.Close() }
