package volume

import "strings"

// class says what a destination is for, as far as its name or port tells.
type class uint8

const (
	classNone class = iota
	classMail
	classWebmail
	classDrop
)

var classNames = [...]string{"", "mail", "webmail", "file drop"}

// webmail are the names under which people write mail in a browser, drops the
// services to which anybody may give a file without being known, as their
// operators publish them.
var (
	webmail = []string{
		"mail.google.com", "outlook.live.com", "outlook.office.com", "outlook.office365.com", "outlook.com", "mail.yahoo.com",
		"mail.proton.me", "mail.protonmail.com", "proton.me", "mail.aol.com", "mail.zoho.com", "mail.zoho.eu", "mail.gmx.net", "mail.gmx.com",
		"navigator.gmx.net", "web.de", "mail.ru", "e.mail.ru", "mail.yandex.ru", "mail.yandex.com", "mail.qq.com", "mail.163.com",
		"www.icloud.com", "mail.tutanota.com", "app.tuta.com", "app.fastmail.com", "mail.com", "mailbox.org",
	}
	drops = []string{
		"transfer.sh", "file.io", "wetransfer.com", "gofile.io", "anonfiles.com", "bayfiles.com", "temp.sh", "0x0.st", "catbox.moe",
		"litterbox.catbox.moe", "filebin.net", "send.vis.ee", "sendspace.com", "mediafire.com", "mega.nz", "mega.co.nz", "mega.io",
		"pixeldrain.com", "uguu.se", "oshi.at", "bashupload.com", "ufile.io", "filetransfer.io", "smash.com", "fromsmash.com",
		"swisstransfer.com", "dropmefiles.com", "tmpfiles.org", "webhook.site", "requestbin.com", "pipedream.net", "ngrok.io",
		"ngrok-free.app", "trycloudflare.com", "pastebin.com", "paste.ee", "hastebin.com", "termbin.com", "krakenfiles.com", "workupload.com",
		"rapidgator.net", "zippyshare.com", "1fichier.com", "easyupload.io", "put.io", "qaz.im", "ix.io", "keep.sh", "storjshare.io",
	}
)

// classOf tells a destination by its name.
func classOf(name string) class {
	for _, d := range drops {
		if under(name, d) {
			return classDrop
		}
	}
	for _, d := range webmail {
		if under(name, d) {
			return classWebmail
		}
	}
	return classNone
}

func under(name, domain string) bool {
	return name == domain || len(name) > len(domain) && name[len(name)-len(domain)-1] == '.' && strings.HasSuffix(name, domain)
}

// tenantSuffix is a service whose customers have names of their own under it.
type tenantSuffix struct {
	service, suffix string
}

// tenantSuffixes, the longest first where one holds another. What stands before
// is the bucket, account or tenant.
var tenantSuffixes = []tenantSuffix{
	{"azure blob", ".blob.core.windows.net"},
	{"azure file", ".file.core.windows.net"},
	{"azure data lake", ".dfs.core.windows.net"},
	{"gcs", ".storage.googleapis.com"},
	{"r2", ".r2.cloudflarestorage.com"},
	{"r2", ".r2.dev"},
	{"spaces", ".digitaloceanspaces.com"},
	{"b2", ".backblazeb2.com"},
	{"wasabi", ".wasabisys.com"},
	{"sharepoint", ".sharepoint.com"},
	{"slack", ".slack.com"},
	{"atlassian", ".atlassian.net"},
	{"salesforce", ".my.salesforce.com"},
	{"box", ".app.box.com"},
	{"snowflake", ".snowflakecomputing.com"},
	{"databricks", ".cloud.databricks.com"},
	{"aliyun oss", ".aliyuncs.com"},
}

// tenantOf reads a bucket, account or tenant from a host name, in the manner
// of virtual hosts. In the manner of paths (s3.amazonaws.com/BUCKET) the name
// does not say it.
func tenantOf(name string) (service, tenant string) {
	if strings.HasSuffix(name, ".amazonaws.com") {
		return s3Tenant(name)
	}
	for _, s := range tenantSuffixes {
		rest, ok := strings.CutSuffix(name, s.suffix)
		if !ok || rest == "" {
			continue
		}
		switch s.service {
		case "spaces", "aliyun oss", "r2":
			// BUCKET.REGION.digitaloceanspaces.com; ACCOUNT or BUCKET.ACCOUNT.
			first, _, more := strings.Cut(rest, ".")
			if s.service != "r2" && !more {
				return "", ""
			}
			return s.service, first
		case "b2", "wasabi":
			// BUCKET.s3.REGION.backblazeb2.com, f000.backblazeb2.com.
			bucket, _, ok := strings.Cut(rest, ".s3.")
			if !ok {
				return "", ""
			}
			return s.service, bucket
		case "sharepoint":
			// TENANT, TENANT-my, TENANT-admin.
			for _, x := range []string{"-my", "-admin", "-public"} {
				rest = strings.TrimSuffix(rest, x)
			}
		case "slack":
			if rest == "files" || rest == "api" || rest == "app" || strings.HasPrefix(rest, "wss-") || rest == "edgeapi" {
				return "", ""
			}
		}
		if strings.Contains(rest, ".") && s.service != "snowflake" && s.service != "gcs" {
			_, rest = cutLast(rest)
		}
		return s.service, rest
	}
	return "", ""
}

func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '.')
	return s[:max(i, 0)], s[i+1:]
}

// s3Tenant reads the bucket of BUCKET.s3.amazonaws.com,
// BUCKET.s3.REGION.amazonaws.com, BUCKET.s3-REGION.amazonaws.com and their
// dual-stack and accelerated forms. A bucket may contain dots.
func s3Tenant(name string) (service, tenant string) {
	rest := strings.TrimSuffix(name, ".amazonaws.com")
	for _, mark := range []string{".s3.", ".s3-"} {
		if i := strings.LastIndex(rest, mark); i > 0 {
			return "s3", rest[:i]
		}
	}
	if b, ok := strings.CutSuffix(rest, ".s3"); ok && b != "" {
		return "s3", b
	}
	return "", ""
}
