package alert

import "strings"

// A technique is an entry of MITRE ATT&CK (Enterprise, v16).
type technique struct{ name, tactic string }

// tactics are the ATT&CK tactics that our techniques belong to.
var tactics = map[string]string{
	"TA0005": "Defense Evasion",
	"TA0006": "Credential Access",
	"TA0009": "Collection",
	"TA0010": "Exfiltration",
	"TA0011": "Command and Control",
}

// techniques are those that detectors name, and their sub-techniques. A
// technique of several tactics stands under the one that is meant here.
var techniques = map[string]technique{
	"T1005":     {"Data from Local System", "TA0009"},
	"T1020":     {"Automated Exfiltration", "TA0010"},
	"T1029":     {"Scheduled Transfer", "TA0010"},
	"T1030":     {"Data Transfer Size Limits", "TA0010"},
	"T1039":     {"Data from Network Shared Drive", "TA0009"},
	"T1041":     {"Exfiltration Over C2 Channel", "TA0010"},
	"T1048":     {"Exfiltration Over Alternative Protocol", "TA0010"},
	"T1048.001": {"Exfiltration Over Symmetric Encrypted Non-C2 Protocol", "TA0010"},
	"T1048.002": {"Exfiltration Over Asymmetric Encrypted Non-C2 Protocol", "TA0010"},
	"T1048.003": {"Exfiltration Over Unencrypted Non-C2 Protocol", "TA0010"},
	"T1052":     {"Exfiltration Over Physical Medium", "TA0010"},
	"T1052.001": {"Exfiltration over USB", "TA0010"},
	"T1071":     {"Application Layer Protocol", "TA0011"},
	"T1071.001": {"Web Protocols", "TA0011"},
	"T1071.003": {"Mail Protocols", "TA0011"},
	"T1071.004": {"DNS", "TA0011"},
	"T1074":     {"Data Staged", "TA0009"},
	"T1074.001": {"Local Data Staging", "TA0009"},
	"T1074.002": {"Remote Data Staging", "TA0009"},
	"T1078":     {"Valid Accounts", "TA0005"},
	"T1078.004": {"Cloud Accounts", "TA0005"},
	"T1095":     {"Non-Application Layer Protocol", "TA0011"},
	"T1114":     {"Email Collection", "TA0009"},
	"T1119":     {"Automated Collection", "TA0009"},
	"T1132":     {"Data Encoding", "TA0011"},
	"T1213":     {"Data from Information Repositories", "TA0009"},
	"T1530":     {"Data from Cloud Storage", "TA0009"},
	"T1537":     {"Transfer Data to Cloud Account", "TA0010"},
	"T1550":     {"Use Alternate Authentication Material", "TA0005"},
	"T1550.001": {"Application Access Token", "TA0005"},
	"T1552":     {"Unsecured Credentials", "TA0006"},
	"T1552.001": {"Credentials In Files", "TA0006"},
	"T1552.005": {"Cloud Instance Metadata API", "TA0006"},
	"T1552.007": {"Container API", "TA0006"},
	"T1560":     {"Archive Collected Data", "TA0009"},
	"T1560.001": {"Archive via Utility", "TA0009"},
	"T1560.002": {"Archive via Library", "TA0009"},
	"T1560.003": {"Archive via Custom Method", "TA0009"},
	"T1562":     {"Impair Defenses", "TA0005"},
	"T1562.001": {"Disable or Modify Tools", "TA0005"},
	"T1562.008": {"Disable or Modify Cloud Logs", "TA0005"},
	"T1567":     {"Exfiltration Over Web Service", "TA0010"},
	"T1567.001": {"Exfiltration to Code Repository", "TA0010"},
	"T1567.002": {"Exfiltration to Cloud Storage", "TA0010"},
	"T1567.003": {"Exfiltration to Text Storage Sites", "TA0010"},
	"T1567.004": {"Exfiltration Over Webhook", "TA0010"},
	"T1572":     {"Protocol Tunneling", "TA0011"},
	"T1573":     {"Encrypted Channel", "TA0011"},
}

// parent splits T1048.003 into T1048 and true, and T1048 into T1048 and false.
func parent(id string) (string, bool) {
	p, _, sub := strings.Cut(id, ".")
	return p, sub
}

// reference is the page of a technique or tactic.
func reference(id string) string {
	if strings.HasPrefix(id, "TA") {
		return "https://attack.mitre.org/tactics/" + id + "/"
	}
	return "https://attack.mitre.org/techniques/" + strings.ReplaceAll(id, ".", "/") + "/"
}
