package vpcflow

import (
	"errors"
	"fmt"
	"strings"
)

// ErrFormat is wrapped by the errors of NewFormat, to be tested with errors.Is.
var ErrFormat = errors.New("unusable flow log format")

// field is a column that the decoder reads; other columns are skipped.
type field uint8

const (
	skipped field = iota
	account
	interfaceID
	resourceID
	srcAddr
	dstAddr
	pktSrcAddr
	pktDstAddr
	srcPort
	dstPort
	protocol
	packets
	byteCount
	start
	end
	action
	logStatus
	tcpFlags
	vpcID
	subnetID
	instanceID
	region
	dstService
	direction
	trafficPath
	attachment
	gateway
	srcVPC
	srcSubnet
	fieldCount
)

// fields maps the names of all columns of formats.md §1.2 and §1.5.
var fields = map[string]field{
	"version": skipped, "account-id": account, "interface-id": interfaceID, "srcaddr": srcAddr, "dstaddr": dstAddr,
	"srcport": srcPort, "dstport": dstPort, "protocol": protocol, "packets": packets, "bytes": byteCount,
	"start": start, "end": end, "action": action, "log-status": logStatus,
	"vpc-id": vpcID, "subnet-id": subnetID, "instance-id": instanceID, "tcp-flags": tcpFlags, "type": skipped,
	"pkt-srcaddr": pktSrcAddr, "pkt-dstaddr": pktDstAddr,
	"region": region, "az-id": skipped, "sublocation-type": skipped, "sublocation-id": skipped,
	"pkt-src-aws-service": skipped, "pkt-dst-aws-service": dstService, "flow-direction": direction, "traffic-path": trafficPath,
	"ecs-cluster-arn": skipped, "ecs-cluster-name": skipped, "ecs-container-instance-arn": skipped,
	"ecs-container-instance-id": skipped, "ecs-container-id": skipped, "ecs-second-container-id": skipped,
	"ecs-service-name": skipped, "ecs-task-definition-arn": skipped, "ecs-task-arn": skipped, "ecs-task-id": skipped,
	"reject-reason": skipped, "resource-id": resourceID, "encryption-status": skipped,
	"instance-tag": skipped, "instance-tag-2": skipped, "interface-tag": skipped, "interface-tag-2": skipped,
	"asg-tag": skipped, "asg-tag-2": skipped, "interface-type": skipped,
	"next-hop-interface-id": skipped, "next-hop-subnet-id": skipped, "next-hop-az-id": skipped,
	"next-hop-vpc-id": skipped, "next-hop-interface-type": skipped,

	"resource-type": skipped, "tgw-id": gateway, "tgw-attachment-id": attachment,
	"tgw-src-vpc-account-id": skipped, "tgw-dst-vpc-account-id": skipped, "tgw-src-vpc-id": srcVPC, "tgw-dst-vpc-id": skipped,
	"tgw-src-subnet-id": srcSubnet, "tgw-dst-subnet-id": skipped, "tgw-src-eni": skipped, "tgw-dst-eni": skipped,
	"tgw-src-az-id": skipped, "tgw-dst-az-id": skipped, "tgw-pair-attachment-id": skipped,
	"packets-lost-no-route": skipped, "packets-lost-blackhole": skipped, "packets-lost-mtu-exceeded": skipped,
	"packets-lost-ttl-expired": skipped,
}

// The formats that AWS writes when none is configured.
const (
	defaultVPC = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
	defaultTGW = "version resource-type account-id tgw-id tgw-attachment-id tgw-src-vpc-account-id tgw-dst-vpc-account-id " +
		"tgw-src-vpc-id tgw-dst-vpc-id tgw-src-subnet-id tgw-dst-subnet-id tgw-src-eni tgw-dst-eni tgw-src-az-id tgw-dst-az-id " +
		"tgw-pair-attachment-id srcaddr dstaddr srcport dstport protocol packets bytes start end log-status type " +
		"packets-lost-no-route packets-lost-blackhole packets-lost-mtu-exceeded packets-lost-ttl-expired tcp-flags region " +
		"flow-direction pkt-src-aws-service pkt-dst-aws-service"
)

// maxColumns bounds a header; AWS knows fewer than 100 names.
const maxColumns = 256

// layout is the order of the columns.
type layout struct {
	columns []field
	gateway bool // transit gateway, not VPC
}

// parseLayout reads names separated by white space, as in a header, or
// written ${name} as in the AWS API. It accepts names that it does not know,
// and of a name that occurs twice the first.
func parseLayout(text string) (*layout, error) {
	l := &layout{}
	var seen [fieldCount]bool
	for name := range strings.FieldsSeq(text) {
		name = columnName(name)
		if !nameLike(name) {
			return nil, fmt.Errorf("%w: %.40q is no column name", ErrFormat, name)
		}
		if len(l.columns) == maxColumns {
			return nil, fmt.Errorf("%w: more than %d columns", ErrFormat, maxColumns)
		}
		if strings.HasPrefix(name, "tgw-") {
			l.gateway = true
		}
		f := fields[name]
		if seen[f] {
			f = skipped
		}
		seen[f] = true
		l.columns = append(l.columns, f)
	}
	if len(l.columns) == 0 {
		return nil, fmt.Errorf("%w: no columns", ErrFormat)
	}
	return l, nil
}

// usable says whether records of the layout can become events.
func (l *layout) usable() error {
	var has [fieldCount]bool
	for _, f := range l.columns {
		has[f] = true
	}
	switch {
	case !has[end]:
		return fmt.Errorf("%w: no column end", ErrFormat)
	case !has[srcAddr] && !has[pktSrcAddr]:
		return fmt.Errorf("%w: neither srcaddr nor pkt-srcaddr", ErrFormat)
	case !has[dstAddr] && !has[pktDstAddr]:
		return fmt.Errorf("%w: neither dstaddr nor pkt-dstaddr", ErrFormat)
	}
	return nil
}

// columnName takes a name in any of its spellings to that of the text format.
func columnName(s string) string {
	if strings.HasPrefix(s, "${") && strings.HasSuffix(s, "}") {
		s = s[2 : len(s)-1]
	}
	return strings.ReplaceAll(s, "_", "-")
}

func nameLike(s string) bool {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// isHeader reports whether a line whose first byte is a letter names columns:
// it begins with a known name, every token could be a name, and most of them
// are known. The values of no record look like that.
func isHeader(line string) bool {
	known, total := 0, 0
	for name := range strings.FieldsSeq(line) {
		name = columnName(name)
		_, ok := fields[name]
		if !ok && (total == 0 || !nameLike(name)) {
			return false
		}
		total++
		if ok {
			known++
		}
	}
	return total > 1 && 2*known > total
}
