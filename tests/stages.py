"""The stages that tests name most."""

CHECK, CREATE, ATTACH = "00-check-access", "10-create-volume", "11-attach-volume"
WRITE = "20-write-cloud-config"
TEMPLATE, REGISTER = "42-create-template", "43-register-template"
DEPLOY, VERIFY = "50-deploy-cluster", "60-verify-cluster"
RECONFIGURE, SHRINK = "70-reconfigure-cluster", "80-remove-machines"
REMOVE = "90-remove-cluster"
