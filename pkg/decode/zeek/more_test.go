package zeek

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ebbwatch/ebbwatch/pkg/event"
)

// Every field has its bit.
var _ [128 - int(fieldCount)]struct{}

// othersSeeds are lines of the logs that tell of files and of names, as Zeek
// writes them, each with what becomes of it: the part of the event that the log
// is read for, or why there is none.
var othersSeeds = []struct{ path, line, want string }{
	{
		"ftp.log", `{"ts":1767600000.5,"uid":"C1","id.orig_h":"10.0.0.5","id.orig_p":40000,"id.resp_h":"203.0.113.9","id.resp_p":21,"user":"u","password":"<hidden>","command":"STOR","arg":"ftp://203.0.113.9/./a.zip","mime_type":"application/zip","file_size":4096,"reply_code":226,"reply_msg":"ok","fuid":"F1"}`,
		"transfer STOR 10.0.0.5>203.0.113.9 ftp F1 ftp://203.0.113.9/./a.zip 4096 up",
	},
	{
		"", `{"ts":1767600000.5,"uid":"C1","id.orig_h":"10.0.0.5","id.orig_p":40000,"id.resp_h":"203.0.113.9","id.resp_p":21,"command":"RETR","arg":"ftp://203.0.113.9/b","reply_code":226}`,
		"transfer RETR 10.0.0.5>203.0.113.9 ftp  ftp://203.0.113.9/b - down",
	},
	{"ftp.log", `{"ts":1767600000.5,"uid":"C1","id.orig_h":"10.0.0.5","id.orig_p":40000,"id.resp_h":"203.0.113.9","id.resp_p":21,"command":"PASV"}`, "ignored no_content"},
	{
		"", `{"ts":1767600000.5,"uid":"C2","id.orig_h":"10.0.0.5","id.orig_p":40000,"id.resp_h":"10.0.0.8","id.resp_p":445,"fuid":"F2","action":"SMB::FILE_WRITE","path":"\\\\srv\\share","name":"x\\plan.docx","size":77}`,
		`transfer SMB::FILE_WRITE 10.0.0.5>10.0.0.8 smb F2 \\srv\share\x\plan.docx - up`,
	},
	{"smb_files.log", `{"ts":1767600000.5,"uid":"C2","id.orig_h":"10.0.0.5","id.orig_p":1,"id.resp_h":"10.0.0.8","id.resp_p":445,"action":"SMB::FILE_DELETE","path":"p","name":"n","size":1}`, "ignored no_content"},
	{
		"", `{"ts":1767600000.5,"uids":["C3"],"client_addr":"10.0.0.7","server_addr":"10.0.0.1","mac":"02:00:00:00:00:01","host_name":"LAPTOP-7","requested_addr":"10.0.0.7","assigned_addr":"10.0.0.7","lease_time":3600.0,"msg_types":["REQUEST","ACK"],"duration":0.01}`,
		"conn lease 10.0.0.7>10.0.0.1 dhcp laptop-7",
	},
	{"dhcp.log", `{"ts":1767600000.5,"uids":["C3"],"mac":"02:00:00:00:00:01","host_name":"LAPTOP-7","msg_types":["DISCOVER"]}`, "ignored no_content"},
	{"dhcp.log", `{"ts":1767600000.5,"host_name":"a","assigned_addr":"nowhere","msg_types":["ACK"]}`, "dead impossible_value"},
	{
		"", `{"ts":1767600000.5,"uid":"C4","id.orig_h":"10.0.0.7","id.orig_p":40000,"id.resp_h":"10.0.0.8","id.resp_p":445,"username":"u","hostname":"LAPTOP-7","domainname":"CORP","server_nb_computer_name":"SRV","success":true}`,
		"conn login 10.0.0.7>10.0.0.8 ntlm laptop-7",
	},
	{"ntlm.log", `{"ts":1767600000.5,"uid":"C4","id.orig_h":"10.0.0.7","id.orig_p":40000,"id.resp_h":"10.0.0.8","id.resp_p":445,"hostname":"LAPTOP-7","success":false}`, "ignored no_content"},
	{"ntlm.log", `{"ts":1767600000.5,"uid":"C4","hostname":"LAPTOP-7","success":true}`, "dead missing_field"},
	// Read and not used, also where no name tells what they are.
	{"", `{"ts":1767600000.5,"uid":"C5","id.orig_h":"10.0.0.7","id.orig_p":1,"id.resp_h":"203.0.113.9","id.resp_p":22,"version":2,"auth_attempts":0,"client":"SSH-2.0-x","server":"SSH-2.0-y"}`, "ignored other_log"},
	{"", `{"ts":1767600000.5,"uid":"C6","id.orig_h":"10.0.0.7","id.orig_p":0,"id.resp_h":"203.0.113.9","id.resp_p":0,"tunnel_type":"Tunnel::VXLAN","action":"Tunnel::DISCOVER"}`, "ignored other_log"},
	{"", `{"ts":1767600000.5,"uid":"C7","id.orig_h":"10.0.0.7","id.orig_p":1,"id.resp_h":"10.0.0.8","id.resp_p":445,"path":"\\\\srv\\share","share_type":"DISK"}`, "ignored other_log"},
	{"", `{"ts":1767600000.5,"fingerprint":"aa","certificate.version":3,"certificate.serial":"01","certificate.subject":"CN=x"}`, "ignored other_log"},
	{"", `{"ts":1767600000.5,"note":"CaptureLoss::Too_Much_Loss","msg":"m","actions":["Notice::ACTION_LOG"]}`, "ignored other_log"},
}

func TestOthers(t *testing.T) {
	t.Parallel()
	for _, c := range othersSeeds {
		var k kept
		New(Options{Path: c.path}).Line([]byte(c.line), event.Origin{}, &k)
		got := k.reason
		if e := &k.e; k.events == 1 {
			parts := []string{e.Kind.String(), e.Action, e.Source.IP.String() + ">" + e.Destination.IP.String(), e.Network.Protocol}
			if e.Kind == event.KindTransfer {
				size, way := "-", "down"
				if n, ok := e.File.Size.Get(); ok && n == 4096 {
					size = "4096"
				}
				if e.File.FromSource {
					way = "up"
				}
				parts = append(parts, e.File.ID, e.File.Path, size, way)
			} else {
				parts = append(parts, e.Source.Domain)
				if e.ID != "" || e.Source.Bytes.Known() || e.Destination.Bytes.Known() {
					t.Errorf("it counts as a connection: %+v", e)
				}
			}
			got = strings.Join(parts, " ")
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s %s\n%s", c.path, c.line, d)
		}
	}
}
