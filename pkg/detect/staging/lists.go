package staging

// archivers are programs whose purpose is to pack files.
var archivers = map[string]bool{
	"tar": true, "bsdtar": true, "gtar": true, "star": true, "cpio": true, "pax": true, "ar": true, "zip": true, "rar": true,
	"7z": true, "7za": true, "7zr": true, "7zz": true, "p7zip": true, "gzip": true, "pigz": true, "bzip2": true, "pbzip2": true, "lbzip2": true,
	"xz": true, "pixz": true, "zstd": true, "zstdmt": true, "lz4": true, "lzop": true, "brotli": true, "mksquashfs": true,
}

// interpreters can pack files by a module; the words of modules are below.
var interpreters = map[string]bool{
	"python": true, "python2": true, "python3": true, "perl": true, "ruby": true, "node": true, "php": true, "pwsh": true,
}

var modules = []string{"tarfile", "zipfile", "make_archive", "archive::tar", "archive::zip", "ziparchive", "phardata", "archiver", "compress-archive", "import gzip", "zlib"}

// tools are known backup tools.
var tools = map[string]bool{
	"restic": true, "duplicati": true, "duplicati-cli": true, "duplicity": true, "velero": true, "backup-agent": true, "borg": true, "kopia": true,
	"bacula-fd": true, "bareos-fd": true, "rsnapshot": true, "pgbackrest": true, "barman": true, "wal-g": true, "amandad": true,
}

// root is a sensitive folder with the points that reading it is worth.
type root struct {
	path   string
	points float64
}

// roots are sensitive folders (detections.md §5), longest first where one
// holds another. Homes hold sources and builds as well: they alone are worth a
// signal, not an alert.
var roots = []root{
	{"/var/run/secrets", 3},
	{"/run/secrets", 3},
	{"/mnt/secrets", 3},
	{"/etc/secrets", 3},
	{"/etc/kubernetes", 3},
	{"/etc/ssl/private", 3},
	{"/etc/shadow", 3},
	{"/etc/pki/private", 3},
	{"/opt/app/config", 3},
	{"/var/lib/kubelet", 3},
	{"/var/lib/etcd", 3},
	{"/var/lib/postgresql", 3},
	{"/var/lib/pgsql", 3},
	{"/var/lib/mysql", 3},
	{"/var/lib/mongodb", 3},
	{"/var/lib/redis", 3},
	{"/var/lib/elasticsearch", 3},
	{"/var/lib/ldap", 3},
	{"/var/vault", 3},
	{"/root", 2},
	{"/home", 2},
	{"/srv", 2},
}

// keyFolders are sensitive wherever they lie.
var keyFolders = []string{".ssh", ".aws", ".gnupg", ".kube", ".docker", ".azure", ".config/gcloud", ".mozilla", ".password-store"}

// places where an archive is put out of sight.
var places = []string{"/tmp/", "/var/tmp/", "/dev/shm/", "/run/shm/", "/var/cache/", "/usr/share/"}

// servers do not start archivers by themselves.
var servers = map[string]bool{
	"nginx": true, "httpd": true, "apache2": true, "php-fpm": true, "java": true, "node": true, "uwsgi": true, "gunicorn": true, "mysqld": true, "postgres": true,
	"redis-server": true, "w3wp": true, "tomcat": true,
}
