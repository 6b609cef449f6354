//go:build !linux

package capture

import "github.com/gopacket/gopacket/layers"

func open(Config) (handle, layers.LinkType, error) { return nil, 0, ErrUnsupported }
