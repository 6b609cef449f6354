package staging

import "strings"

// archivers are programs whose purpose is to pack files; trees packs whole
// folders, the others pack one file each.
var archivers = map[string]kindOfArchiver{
	"tar": trees, "bsdtar": trees, "gtar": trees, "star": trees, "cpio": trees, "pax": trees, "zip": trees, "rar": trees, "7z": trees, "7za": trees,
	"7zr": trees, "7zz": trees, "p7zip": trees, "mksquashfs": trees, "zpaq": trees, "lrztar": trees, "arj": trees,
	"gzip": files, "pigz": files, "bzip2": files, "pbzip2": files, "lbzip2": files, "xz": files, "pixz": files, "pxz": files, "lzma": files,
	"zstd": files, "zstdmt": files, "pzstd": files, "lz4": files, "lzop": files, "lzip": files, "brotli": files, "lrzip": files, "compress": files,
}

type kindOfArchiver uint8

const (
	trees kindOfArchiver = iota + 1
	files
)

// shells and wrappers run other commands: what they run is in their arguments.
var wrappers = map[string]bool{
	"sh": true, "bash": true, "dash": true, "ash": true, "zsh": true, "ksh": true, "busybox": true, "sudo": true, "doas": true, "env": true,
	"nice": true, "ionice": true, "nohup": true, "timeout": true, "setsid": true, "xargs": true, "find": true, "time": true, "stdbuf": true,
	"chroot": true, "nsenter": true, "exec": true, "command": true, "flock": true, "unshare": true, "toybox": true,
}

// interpreters can pack files by a module; the words of modules are below.
// Versions are cut off.
var interpreters = map[string]bool{"python": true, "perl": true, "ruby": true, "node": true, "php": true, "pwsh": true, "powershell": true, "lua": true, "deno": true, "bun": true}

var modules = []string{
	"tarfile", "zipfile", "make_archive", "archive::tar", "archive::zip", "ziparchive", "phardata", "archiver", "compress-archive", "import gzip",
	"zlib", "adm-zip", "rubygems/package",
}

// interpreter reports whether a program runs scripts.
func interpreter(name string) bool { return interpreters[strings.TrimRight(name, "0123456789.")] }

// tools are known backup tools.
var tools = map[string]bool{
	"restic": true, "duplicati": true, "duplicati-cli": true, "duplicity": true, "velero": true, "backup-agent": true, "borg": true, "kopia": true,
	"bacula-fd": true, "bareos-fd": true, "rsnapshot": true, "pgbackrest": true, "barman": true, "wal-g": true, "amandad": true,
}

// others are commands of programs that copy data elsewhere: a backup tool has
// none of them, a renamed rclone or aws does.
var others = map[string]bool{
	"copy": true, "copyto": true, "sync": true, "move": true, "moveto": true, "rcat": true, "lsd": true, "lsf": true, "bisync": true, "serve": true,
	"cp": true, "mv": true, "put": true, "s3": true,
}

// root is a sensitive folder.
type root struct {
	path  string
	class class
}

// class is how sensitive a folder is.
type class uint8

const (
	harmless class = iota
	// mixed folders hold sensitive data among much else.
	mixed
	// homes are people's, or an attacker's choice of a whole home.
	homes
	// secret folders hold secrets, keys, databases or what a cluster knows.
	secret
)

// roots are sensitive folders (detections.md §5) and those that hold them.
var roots = []root{
	{"/var/run/secrets", secret},
	{"/run/secrets", secret},
	{"/mnt/secrets", secret},
	{"/etc/secrets", secret},
	{"/etc/kubernetes", secret},
	{"/etc/ssl/private", secret},
	{"/etc/pki/private", secret},
	{"/etc/pki/tls/private", secret},
	{"/etc/letsencrypt", secret},
	{"/etc/shadow", secret},
	{"/etc/gshadow", secret},
	{"/etc/vault", secret},
	{"/etc/wireguard", secret},
	{"/opt/app/config", secret},
	{"/opt/vault", secret},
	{"/var/lib/kubelet", secret},
	{"/var/lib/etcd", secret},
	{"/var/lib/vault", secret},
	{"/var/vault", secret},
	{"/var/lib/postgresql", secret},
	{"/var/lib/postgres", secret},
	{"/var/lib/pgsql", secret},
	{"/var/lib/mysql", secret},
	{"/var/lib/mariadb", secret},
	{"/var/lib/mongodb", secret},
	{"/var/lib/mongo", secret},
	{"/var/lib/redis", secret},
	{"/var/lib/cassandra", secret},
	{"/var/lib/elasticsearch", secret},
	{"/var/lib/clickhouse", secret},
	{"/var/lib/influxdb", secret},
	{"/var/lib/neo4j", secret},
	{"/var/lib/couchdb", secret},
	{"/var/lib/ldap", secret},
	{"/var/lib/jenkins/secrets", secret},
	{"/var/lib/rancher", secret},
	{"/var/lib/docker/volumes", secret},
	{"/var/opt/mssql", secret},
	{"/srv", mixed},
}

// holders hold several sensitive folders: they count when they are packed as a
// whole.
var holders = map[string]bool{
	"/": true, "/etc": true, "/var": true, "/var/lib": true, "/home": true, "/opt": true, "/opt/app": true, "/run": true, "/mnt": true, "/etc/ssl": true,
	"/etc/pki": true, "/var/lib/docker": true, "/var/run": true,
}

// keyFolders are sensitive wherever they lie.
var keyFolders = []string{
	"/.ssh/", "/.aws/", "/.gnupg/", "/.kube/", "/.docker/", "/.azure/", "/.config/gcloud/", "/.mozilla/", "/.password-store/", "/.thunderbird/",
	"/.local/share/keyrings/", "/.vault-token/", "/.git-credentials/", "/.netrc/", "/.pgpass/",
}

// builders are accounts whose homes hold what machines check out and build.
// Their key folders are sensitive all the same.
var builders = map[string]bool{
	"build": true, "builder": true, "jenkins": true, "runner": true, "gitlab-runner": true, "ci": true, "circleci": true, "buildkite": true,
	"buildkite-agent": true, "vsts": true, "azdo": true, "teamcity": true, "actions": true, "bamboo": true, "buildbot": true, "drone": true, "concourse": true,
	"travis": true, "go": true,
}

// places are where an archive is out of sight: everybody may write there, or
// nobody looks.
var places = []string{"/tmp/", "/var/tmp/", "/dev/shm/", "/run/shm/", "/var/cache/", "/usr/share/", "/usr/lib/", "/var/www/", "/var/spool/", "/private/tmp/"}

// loose are folders from which no installed program runs.
var loose = []string{"/tmp/", "/var/tmp/", "/dev/shm/", "/run/shm/", "/run/user/", "/home/", "/root/", "/var/www/", "/mnt/", "/media/", "/proc/"}

// servers do not start archivers by themselves, and people do not start backup
// tools' helpers.
var servers = map[string]bool{
	"nginx": true, "httpd": true, "apache2": true, "php-fpm": true, "java": true, "node": true, "uwsgi": true, "gunicorn": true, "mysqld": true, "postgres": true,
	"redis-server": true, "w3wp": true, "tomcat": true, "php": true, "unicorn": true, "puma": true, "mongod": true, "lighttpd": true, "caddy": true,
}

// logins are where a person, or who took a person's place, comes in.
var logins = map[string]bool{"sshd": true, "login": true, "tmux": true, "screen": true, "sshd-session": true, "dropbear": true, "telnetd": true, "in.telnetd": true}

// suffixes are the names of archives.
var suffixes = []string{".tar", ".tgz", ".tar.gz", ".tbz", ".tbz2", ".txz", ".tar.xz", ".tar.bz2", ".tar.zst", ".zip", ".7z", ".rar", ".gz", ".xz", ".bz2", ".zst", ".lz4", ".cpio"}

func archiveName(p string) bool {
	for _, s := range suffixes {
		if strings.HasSuffix(p, s) {
			return true
		}
	}
	return false
}
