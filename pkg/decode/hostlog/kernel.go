package hostlog

import (
	"strconv"
	"strings"

	"github.com/ebbwatch/ebbwatch/pkg/decode"
)

// maxPorts bounds the USB ports that are remembered, over all hosts of a log.
const maxPorts = 32

// port is what a USB port has said of the device in it.
type port struct {
	host, name           string // name: 1-1.2
	id                   string // vendor:product
	maker, model, serial string
	scsi                 string // number of the SCSI host that belongs to it, "" before there is one
}

// kernel takes a message of the kernel.
func (d *Decoder) kernel(host, msg string) (outcome, string) {
	host = cleaned(host)
	switch {
	case strings.HasPrefix(msg, "usb "):
		return d.usb(host, msg[len("usb "):])
	case strings.HasPrefix(msg, "usb-storage "):
		if host != "" && strings.HasSuffix(msg, ": USB Mass Storage device detected") {
			return ignored(ignoredPort)
		}
	case strings.HasPrefix(msg, "scsi"):
		return d.scsi(host, msg[len("scsi"):])
	case strings.HasPrefix(msg, "sd "):
		return d.disk(host, msg[len("sd "):])
	}
	return ignored(ignoredKernel)
}

// usb takes a message of a USB device: "1-1.2: Product: …".
func (d *Decoder) usb(host, msg string) (outcome, string) {
	name, msg, ok := strings.Cut(msg, ": ")
	if !ok || host == "" || !isPort(name) {
		return ignored(ignoredKernel)
	}
	if strings.HasPrefix(msg, "USB disconnect") {
		if i := d.portOf(host, name); i >= 0 {
			d.forget(i)
		}
		return ignored(ignoredPort)
	}
	key, value, _ := strings.Cut(msg, ": ")
	ids, found := strings.CutPrefix(msg, "New USB device found, idVendor=")
	switch {
	case found:
		if i := d.portOf(host, name); i >= 0 {
			d.forget(i) // another device, or the same anew
		}
		d.port(host, name).id = modelID(ids)
	case key == "Product":
		d.port(host, name).model = kept(strings.TrimSpace(value), maxText)
	case key == "Manufacturer":
		d.port(host, name).maker = kept(strings.TrimSpace(value), maxText)
	case key == "SerialNumber":
		d.port(host, name).serial = kept(strings.TrimSpace(value), maxText)
	default:
		return ignored(ignoredKernel)
	}
	return ignored(ignoredPort)
}

// scsi takes a message of a SCSI host. Which port it belongs to is said by
// "host6: usb-storage 1-1:1.0" (of older kernels "6 : usb-storage 1-1:1.0"). Of
// "host6: uas" it is not said: it is taken for the port that spoke last and
// has none.
func (d *Decoder) scsi(host, msg string) (outcome, string) {
	number, driver, ok := strings.Cut(strings.TrimPrefix(strings.TrimLeft(msg, " "), "host"), ":")
	number = strings.TrimRight(number, " ")
	if !ok || host == "" || !isNumber(number) {
		return ignored(ignoredKernel)
	}
	driver = strings.TrimLeft(driver, " ")
	at := -1
	if iface, found := strings.CutPrefix(driver, "usb-storage "); found {
		name, _, _ := strings.Cut(iface, ":")
		if !isPort(name) {
			return ignored(ignoredKernel)
		}
		d.release(host, number)
		d.port(host, name).scsi = strings.Clone(number)
		return ignored(ignoredPort)
	}
	if driver == "uas" {
		for i := len(d.ports) - 1; i >= 0 && at < 0; i-- {
			if p := &d.ports[i]; p.host == host && p.scsi == "" {
				at = i
			}
		}
		d.release(host, number)
		if at < 0 {
			// USB for sure, though the port did not speak.
			d.port(host, "").scsi = strings.Clone(number)
		} else {
			d.ports[at].scsi, d.state = strings.Clone(number), nil
		}
		return ignored(ignoredPort)
	}
	if strings.HasPrefix(driver, "uas") || strings.HasPrefix(driver, "usb") {
		return ignored(ignoredKernel) // of a host that stays
	}
	if strings.HasPrefix(strings.TrimLeft(msg, " "), "host") {
		d.release(host, number) // the number is another driver's now
	}
	return ignored(ignoredKernel)
}

// disk takes a message of a disk: "6:0:0:0: [sdb] Attached SCSI removable disk".
func (d *Decoder) disk(host, msg string) (outcome, string) {
	address, msg, ok := strings.Cut(msg, ": [")
	if !ok {
		return ignored(ignoredKernel)
	}
	name, msg, ok := strings.Cut(msg, "] ")
	if !ok || !strings.HasPrefix(msg, "Attached SCSI ") {
		return ignored(ignoredKernel)
	}
	number, _, _ := strings.Cut(address, ":")
	at := -1
	for i := range d.ports {
		if p := &d.ports[i]; p.scsi != "" && p.scsi == number && p.host == host {
			at = i
		}
	}
	switch {
	case msg != "Attached SCSI removable disk" && msg != "Attached SCSI disk":
		return ignored(ignoredKernel)
	case at < 0 && msg == "Attached SCSI disk":
		return ignored(ignoredFixed)
	case host == "":
		return dead(decode.ReasonMissing)
	case !isDisk("/dev/" + name):
		return dead(decode.ReasonValue)
	}
	e := &d.ev
	e.Action, e.Host.Name = ActionAttached, host
	e.Device.Name = kept("/dev/"+name, maxText)
	if at >= 0 {
		p := &d.ports[at]
		e.Device.ModelID, e.Device.Manufacturer, e.Device.Model, e.Device.Serial = p.id, p.maker, p.model, p.serial
	}
	d.identify(host, strconv.FormatInt(e.Time, 10), address, name)
	return isEvent, ""
}

// portOf returns the index of a port, -1 if it is not known.
func (d *Decoder) portOf(host, name string) int {
	for i := range d.ports {
		if d.ports[i].name == name && d.ports[i].host == host {
			return i
		}
	}
	return -1
}

// port returns a port; where there are too many, the oldest is forgotten.
func (d *Decoder) port(host, name string) *port {
	d.state = nil
	i := d.portOf(host, name)
	if i < 0 || name == "" {
		if len(d.ports) == maxPorts {
			d.forget(0)
		}
		d.ports = append(d.ports, port{host: strings.Clone(host), name: strings.Clone(name)})
		i = len(d.ports) - 1
	}
	return &d.ports[i]
}

func (d *Decoder) forget(i int) {
	d.ports, d.state = append(d.ports[:i], d.ports[i+1:]...), nil
}

// release takes the number of a SCSI host from the port that had it.
func (d *Decoder) release(host, number string) {
	for i := len(d.ports) - 1; i >= 0; i-- {
		if p := &d.ports[i]; p.scsi == number && p.host == host {
			p.scsi, d.state = "", nil
			if p.name == "" {
				d.forget(i)
			}
		}
	}
}

// modelID makes 0781:5581 of "0781, idProduct=5581, bcdDevice= 1.00".
func modelID(s string) string {
	vendor, rest, _ := strings.Cut(s, ", idProduct=")
	product, _, _ := strings.Cut(rest, ",")
	if !isHex4(vendor) || !isHex4(product) {
		return ""
	}
	return vendor + ":" + product
}

func isHex4(s string) bool { return len(s) == 4 && strings.Trim(s, "0123456789abcdef") == "" }

func isNumber(s string) bool {
	return s != "" && len(s) <= 9 && strings.Trim(s, "0123456789") == ""
}

// isPort reports whether a text is the name of a USB port: 1-1.4.2.
func isPort(s string) bool {
	return s != "" && len(s) <= 32 && s[0] >= '0' && s[0] <= '9' && strings.Trim(s, "0123456789-.") == ""
}

// isDisk reports whether a path is the node of a disk that may be removable:
// /dev/sdb, /dev/sdb1, /dev/usb…, /dev/disk/by-id/usb-….
func isDisk(path string) bool {
	if rest, ok := strings.CutPrefix(path, "/dev/sd"); ok {
		letters := strings.TrimRight(rest, "0123456789")
		return letters != "" && len(rest) <= 8 && strings.Trim(letters, "abcdefghijklmnopqrstuvwxyz") == ""
	}
	return strings.HasPrefix(path, "/dev/usb") || strings.HasPrefix(path, "/dev/disk/by-id/usb-")
}
