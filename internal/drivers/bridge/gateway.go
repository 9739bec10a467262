package bridge

// GatewayOptions are the options of the default-gateway network: its members reach
// the world, and not each other.
func GatewayOptions(link string) map[string]string {
	return map[string]string{labelName: link, labelICC: "false", labelMasquerade: "true"}
}
