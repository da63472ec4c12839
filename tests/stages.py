"""The stages that tests name most."""

CHECK, WRITE = "00-check-access", "20-write-cloud-config"
TEMPLATE, REGISTER = "42-create-template", "43-register-template"
DEPLOY, VERIFY = "50-deploy-cluster", "60-verify-cluster"
RECONFIGURE, SHRINK = "70-reconfigure-cluster", "80-remove-machines"
REMOVE = "90-remove-cluster"
