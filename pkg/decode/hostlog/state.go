package hostlog

import (
	"strconv"
	"strings"
)

// Header implements decode.Lines: what is kept between lines, in lines of
// fields that tabs part. No text kept has either in it.
func (d *Decoder) Header() []byte {
	if len(d.ports) == 0 && len(d.audit) == 0 && !d.ref.After(d.opts.Reference) {
		return nil
	}
	if d.state != nil {
		return d.state
	}
	var b []byte
	add := func(fields ...string) {
		for i, f := range fields {
			if i > 0 {
				b = append(b, '\t')
			}
			b = append(b, f...)
		}
		b = append(b, '\n')
	}
	if !d.ref.IsZero() {
		add("ref", strconv.FormatInt(d.ref.UnixMicro(), 10))
	}
	for i := range d.ports {
		p := &d.ports[i]
		add("port", p.host, p.name, p.id, p.maker, p.model, p.serial, p.scsi)
	}
	for i := range d.audit {
		m := &d.audit[i]
		add("mount", m.node, m.id, flag(m.call), flag(m.titled), flag(m.done), m.success, strconv.Itoa(m.items), strconv.Itoa(m.paths),
			m.device, m.folder, m.cwd, m.comm, m.exe, m.pid, m.user, m.userName, m.command)
	}
	d.state = b
	return b
}

// SetHeader implements decode.Lines. What is not of this package is passed over.
func (d *Decoder) SetHeader(header []byte) {
	d.ref, d.ports, d.audit, d.state = d.opts.Reference, nil, nil, nil
	for line := range strings.Lines(string(header)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch {
		case f[0] == "ref" && len(f) == 2:
			d.setRef(f[1])
		case f[0] == "port" && len(f) == 8 && len(d.ports) < maxPorts:
			d.ports = append(d.ports, port{f[1], f[2], f[3], f[4], f[5], f[6], f[7]})
		case f[0] == "mount" && len(f) == 18 && len(d.audit) < maxMounts:
			items, _ := strconv.Atoi(f[7])
			paths, _ := strconv.Atoi(f[8])
			d.audit = append(d.audit, mount{
				node: f[1], id: f[2], call: f[3] == "1", titled: f[4] == "1", done: f[5] == "1", success: f[6], items: items, paths: paths,
				device: f[9], folder: f[10], cwd: f[11], comm: f[12], exe: f[13], pid: f[14], user: f[15], userName: f[16], command: f[17],
			})
		}
	}
}

func flag(b bool) string {
	if b {
		return "1"
	}
	return "0"
}
