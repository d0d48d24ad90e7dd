// sealserve skr beside a container that was written for Microsoft's sidecar; skr.json says the same.

@description('Name of the container group, and of its public address.')
param name string

@description('A region that has confidential container groups.')
param location string = resourceGroup().location

@description('The image of the sidecar, by digest.')
param image string

@description('The image of the container that asks it, by digest; its own entrypoint starts.')
param appImage string

@description('The port that container serves.')
param appPort int = 8000

@description('Host of the registry that has both images.')
param registry string

@description('Resource id of the managed identity: it pulls the images and asks the vault.')
param identityId string

@description('Host of the only vault that may be asked. Measured.')
param vault string

@description('URL of the only attestation service that may be asked. Measured.')
param attestationService string

@description('Name of the only vault key that may be released. Measured.')
param key string

@description('Processors of each container.')
param cpu int = 1

@description('Memory of each container.')
param memoryInGB int = 2

@description('The execution policy in base64, made from skr.json with the same parameters.')
param ccePolicy string

resource group 'Microsoft.ContainerInstance/containerGroups@2023-05-01' = {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    sku: 'Confidential'
    osType: 'Linux'
    restartPolicy: 'Always'
    confidentialComputeProperties: {
      ccePolicy: ccePolicy
    }
    imageRegistryCredentials: [
      {
        server: registry
        identity: identityId
      }
    ]
    ipAddress: {
      type: 'Public'
      dnsNameLabel: name
      ports: [
        {
          protocol: 'TCP'
          port: appPort
        }
      ]
    }
    containers: [
      {
        name: 'app'
        properties: {
          image: appImage
          ports: [
            {
              protocol: 'TCP'
              port: appPort
            }
          ]
          resources: {
            requests: {
              cpu: cpu
              memoryInGB: memoryInGB
            }
          }
          securityContext: {
            allowPrivilegeEscalation: false
          }
        }
      }
      {
        name: 'skr'
        properties: {
          image: image
          command: [
            '/opt/sealserve/bin/python'
            '-I'
            '-m'
            'sealserve'
            'skr'
            '--vault'
            vault
            '--attestation-service'
            attestationService
            '--key'
            key
            '--host'
            '127.0.0.1'
            '--port'
            '8080'
          ]
          resources: {
            requests: {
              cpu: cpu
              memoryInGB: memoryInGB
            }
          }
          securityContext: {
            allowPrivilegeEscalation: false
            runAsUser: 0
            runAsGroup: 0
          }
        }
      }
    ]
  }
}

output address string = group.properties.ipAddress.fqdn
