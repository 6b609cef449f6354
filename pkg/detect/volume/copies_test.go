package volume_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/internal/decodetest"
	"github.com/ebbwatch/ebbwatch/internal/detecttest"
	"github.com/ebbwatch/ebbwatch/pkg/decode/vpcflow"
	"github.com/ebbwatch/ebbwatch/pkg/detect/volume"
	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Columns of version 5 and of a transit gateway, as sites configure them.
const (
	vpcColumns = "version interface-id instance-id vpc-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status " +
		"pkt-srcaddr pkt-dstaddr flow-direction tcp-flags"
	tgwColumns = "version tgw-id tgw-attachment-id tgw-src-vpc-id srcaddr dstaddr srcport dstport protocol packets bytes start end log-status flow-direction"
)

// lineOf is one record of a minute, of n bytes. at names the interface and the
// instance behind it; addrs are srcaddr, dstaddr and the packet's own two.
func lineOf(at string, addrs [4]string, sp, dp, minute int, n uint64, direction string) string {
	iface, instance, _ := strings.Cut(at, " ")
	start := t0/second + int64(minute)*60
	return fmt.Sprintf("5 %s %s vpc-1 %s %s %d %d 6 %d %d %d %d ACCEPT OK %s %s %s 2\n",
		iface, instance, addrs[0], addrs[1], sp, dp, n/1000, n, start, start+59, addrs[2], addrs[3], direction)
}

func gatewayLine(attachment, src, dst string, sp, dp, minute int, n uint64, direction string) string {
	start := t0/second + int64(minute)*60
	return fmt.Sprintf("6 tgw-1 %s vpc-1 %s %s %d %d 6 %d %d %d %d OK %s\n", attachment, src, dst, sp, dp, n/1000, n, start, start+59, direction)
}

// flowsOf decodes the records of a file with the columns given.
func flowsOf(t *testing.T, columns, rows string) (out []event.Event) {
	t.Helper()
	d := vpcflow.New()
	r := decodetest.New(t)
	r.Quiet = true
	r.Each = func(e *event.Event) {
		data, err := e.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		var own event.Event
		if err := event.Decode(data, &own); err != nil {
			t.Fatal(err)
		}
		out = append(out, own)
	}
	for line := range strings.Lines(columns + "\n" + rows) {
		d.Line([]byte(strings.TrimSuffix(line, "\n")), event.Origin{}, r)
	}
	if want := strings.Count(rows, "\n"); len(out) != want {
		t.Fatalf("%d events of %d records", len(out), want)
	}
	return out
}

// One connection sends 30 MB in half an hour and is answered with 300 KB. It
// is one record a minute and direction at its own interface (stitched), and is
// seen again wherever it passes (formats.md §1.3). Whatever else saw it, the
// findings are those of its own interface, with the same bytes.
func TestCopiesOfATransferCountOnce(t *testing.T) {
	t.Parallel()
	const in, nat, far = "10.0.1.5", "10.0.0.220", "203.0.113.5"
	const sent, got = 1_000_000, 10_000
	each := func(f func(minute int) string) string {
		var b strings.Builder
		for m := range 30 {
			b.WriteString(f(m))
		}
		return b.String()
	}
	plain, back := [4]string{in, far, in, far}, [4]string{far, in, far, in}
	own := each(func(m int) string {
		return lineOf("eni-1 i-1", plain, 41000, 443, m, sent, "egress") + lineOf("eni-1 i-1", back, 443, 41000, m, got, "ingress")
	})
	atNAT := each(func(m int) string {
		return lineOf("eni-nat -", [4]string{in, nat, in, far}, 41000, 443, m, sent, "ingress") +
			lineOf("eni-nat -", [4]string{nat, far, nat, far}, 5001, 443, m, sent, "egress") +
			lineOf("eni-nat -", [4]string{far, nat, far, nat}, 443, 5001, m, got, "ingress") +
			lineOf("eni-nat -", [4]string{nat, in, far, in}, 443, 41000, m, got, "egress")
	})
	// A firewall between them: in and out through one interface.
	const wall = "10.0.9.9"
	atWall := each(func(m int) string {
		return lineOf("eni-fw i-fw", [4]string{in, wall, in, far}, 41000, 443, m, sent, "ingress") +
			lineOf("eni-fw i-fw", [4]string{wall, far, in, far}, 41000, 443, m, sent, "egress") +
			lineOf("eni-fw i-fw", [4]string{far, wall, far, in}, 443, 41000, m, got, "ingress") +
			lineOf("eni-fw i-fw", [4]string{wall, in, far, in}, 443, 41000, m, got, "egress")
	})
	// The attachment of its VPC and that of the VPC with the way out.
	atGateway := each(func(m int) string {
		return gatewayLine("tgw-attach-a", in, far, 41000, 443, m, sent, "ingress") + gatewayLine("tgw-attach-b", in, far, 41000, 443, m, sent, "egress") +
			gatewayLine("tgw-attach-b", far, in, 443, 41000, m, got, "ingress") + gatewayLine("tgw-attach-a", far, in, 443, 41000, m, got, "egress")
	})
	const siteFile = "home_networks: [10.0.0.0/8]\naggregators: [" + nat + "]\n"
	find := func(siteFile string, files ...[2]string) (out []string) {
		st := parse(t, siteFile)
		var parts []detecttest.Recording
		for _, f := range files {
			parts = append(parts, detecttest.Events(t, st, "flows", flowsOf(t, f[0], f[1])))
		}
		p := detecttest.NewPlayer(t, []byte(siteFile), append(detectors(), volume.NewMetered()...)...).Play(detecttest.Merge(parts...))
		for _, s := range p.Context.Final() {
			if s.Score >= s.Floor && s.Bytes != nil {
				out = append(out, fmt.Sprintf("%s %s > %s %d bytes, %s instance %s", s.Detector, s.Source.IP, s.Subject, *s.Bytes, points(&s), s.Entity.Instance))
			}
		}
		slices.SortFunc(out, cmp.Compare)
		return out
	}
	alone := find(siteFile, [2]string{vpcColumns, own})
	for _, want := range []string{
		"external-transfer 10.0.1.5 > 203.0.113.5 30000000 bytes", "upload-ratio 10.0.1.5 > 203.0.113.5:443 30000000 bytes",
	} {
		if !slices.ContainsFunc(alone, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("its own interface gives %q, wanted %q among them", alone, want)
		}
	}
	for name, files := range map[string][][2]string{
		"nat gateway":     {{vpcColumns, own}, {vpcColumns, atNAT}},
		"firewall":        {{vpcColumns, own}, {vpcColumns, atWall}},
		"transit gateway": {{vpcColumns, own}, {tgwColumns, atGateway}},
		"all three":       {{vpcColumns, own}, {vpcColumns, atNAT}, {vpcColumns, atWall}, {tgwColumns, atGateway}},
	} {
		if d := gocmp.Diff(alone, find(siteFile, files...)); d != "" {
			t.Errorf("%s: the copies count (-own interface +with copies):\n%s", name, d)
		}
	}
	// Where only what it passes is logged, it is seen there, and still once.
	for name, files := range map[string][2]string{"nat gateway": {vpcColumns, atNAT}, "firewall": {vpcColumns, atWall}, "transit gateway": {tgwColumns, atGateway}} {
		for i, f := range find(siteFile, files) {
			want, _, _ := strings.Cut(alone[i], " instance")
			if got, _, _ := strings.Cut(f, " instance"); got != want {
				t.Errorf("%s alone: %s, wanted %s", name, got, want)
			}
		}
	}
	// An undeclared NAT address is a source of its own, beside the first.
	for _, f := range find("home_networks: [10.0.0.0/8]\n", [2]string{vpcColumns, own}, [2]string{vpcColumns, atNAT}) {
		if !strings.Contains(f, " 30000000 bytes") {
			t.Errorf("two sources are added up: %s", f)
		}
	}
}
