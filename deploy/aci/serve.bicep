// sealserve serve in a confidential container group of its own; serve.json says the same.

@description('Name of the container group, and of its public address.')
param name string

@description('A region that has confidential container groups.')
param location string = resourceGroup().location

@description('The server image, by digest.')
param image string

@description('Host of the registry that has the image.')
param registry string

@description('Resource id of the managed identity: it pulls the image and asks the vault.')
param identityId string

@description('Host of the vault that releases the model\'s key. Measured.')
param vault string

@description('URL of the attestation service whose tokens that vault accepts. Measured.')
param attestationService string

@description('The sealed model as the server sees it, below /models. Measured.')
param sealedFile string

@description('The root that file must have. Measured.')
@minLength(64)
@maxLength(64)
param root string

@description('Storage account of the share.')
param storageAccount string

@description('File share that holds the sealed model. Nothing trusts it.')
param share string

@description('Key of the storage account; never in a file.')
@secure()
param storageKey string

@description('Processors.')
param cpu int = 2

@description('Memory: the model once, and what requests need.')
param memoryInGB int = 8

@description('The execution policy in base64, made from serve.json with the same parameters.')
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
          port: 8001
        }
      ]
    }
    containers: [
      {
        name: 'serve'
        properties: {
          image: image
          command: [
            '/opt/sealserve/bin/python'
            '-I'
            '-m'
            'sealserve'
            'serve'
            sealedFile
            '--root'
            root
            '--vault'
            vault
            '--attestation-service'
            attestationService
            '--listen'
            '0.0.0.0:8001'
          ]
          ports: [
            {
              protocol: 'TCP'
              port: 8001
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
            runAsUser: 0
            runAsGroup: 0
          }
          volumeMounts: [
            {
              name: 'models'
              mountPath: '/models'
              readOnly: true
            }
          ]
        }
      }
    ]
    volumes: [
      {
        name: 'models'
        azureFile: {
          shareName: share
          storageAccountName: storageAccount
          storageAccountKey: storageKey
          readOnly: true
        }
      }
    ]
  }
}

output address string = group.properties.ipAddress.fqdn
