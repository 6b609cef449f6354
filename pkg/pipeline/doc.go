// Package pipeline chains the operators of Ebbwatch directly, without Kafka:
// events go into detection, its signals into correlation, and alerts come
// out. Hunts, backtests and tests use it; the services run the very same
// operators on Kafka (internal/stream).
//
// The order of its input is the order of the log. A caller that merges
// several sources feeds them in the order in which a live system would have
// had them, see [Available].
package pipeline

import (
	"slices"

	"github.com/ebbwatch/ebbwatch/pkg/detect"
	"github.com/ebbwatch/ebbwatch/pkg/detect/dns"
	"github.com/ebbwatch/ebbwatch/pkg/detect/icmp"
	"github.com/ebbwatch/ebbwatch/pkg/detect/identity"
	"github.com/ebbwatch/ebbwatch/pkg/detect/object"
	"github.com/ebbwatch/ebbwatch/pkg/detect/staging"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
)

// Detectors are all detectors, new and unshared: the set that a partition of
// events runs. Each takes the kinds that it wants, so one list serves every
// plane.
func Detectors() []detect.Detector {
	return slices.Concat([]detect.Detector{
		identity.New(),
		volume.NewExternalTransfer(),
		volume.NewUploadRatio(),
		volume.NewFanIn(),
		dns.NewTunnel(),
		dns.NewNotDNS(),
		dns.NewEncrypted(),
		icmp.NewTunnel(),
		staging.NewArchiveSensitive(),
		object.NewBulkRead(),
	}, volume.NewMetered())
}
