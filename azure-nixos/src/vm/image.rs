//! Which image a machine is made from.

use crate::arm::compute::{IMAGES, Image};
use crate::arm::{Client, ResourceId};
use crate::image::UploadedImage;
use crate::{Error, ErrorKind, Result};

/// What a machine is made from, by its id or by a name.
///
/// An id is that of a managed image, of a version of a gallery's image, of an image definition of a
/// gallery (its newest version in the region is taken), or of a managed disk (the machine gets a copy
/// of it). A name is that of a managed image, which is looked up in every group of the subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageReference {
    /// `/subscriptions/…/providers/Microsoft.Compute/images/web`, `…/galleries/nix/images/web`,
    /// `…/galleries/nix/images/web/versions/1.0.0`, `…/disks/web`.
    Id(ResourceId),
    /// `web`.
    Name(String),
}

impl ImageReference {
    /// An id when it begins with a slash, a name otherwise.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] when it begins like an id and is none, or is empty.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.starts_with('/') {
            return text.parse().map(Self::Id);
        }
        if text.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "the image has no name")
                .with_hint("pass the name of an image, or its id"));
        }
        Ok(Self::Name(text.to_owned()))
    }

    /// Finds a managed image.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], or [`ErrorKind::Ambiguous`] with the ids when several groups have
    /// an image of that name.
    pub(crate) async fn find(&self, client: &Client) -> Result<Image> {
        match self {
            Self::Id(id) => {
                if !id.is_kind(IMAGES) {
                    return Err(Error::new(
                        ErrorKind::InvalidInput,
                        format!("{id} is not the id of an image or a disk"),
                    )
                    .with_hint("an id ends in …/providers/Microsoft.Compute/images/NAME, …/galleries/GALLERY/images/NAME/versions/VERSION or …/disks/NAME"));
                }
                client.image(id).await?.ok_or_else(|| {
                    Error::new(ErrorKind::NotFound, format!("there is no image {id}"))
                        .with_hint("`az image list -o table` lists the images")
                })
            }
            Self::Name(name) => {
                let images = client
                    .images()
                    .await
                    .map_err(|error| may_not_list(name, error))?;
                by_name(name, images)
            }
        }
    }
}

/// The hint of the refusal itself is about a role that need not be had.
fn may_not_list(name: &str, refusal: Error) -> Error {
    if refusal.kind() != ErrorKind::Forbidden {
        return refusal;
    }
    Error::new(
        ErrorKind::Forbidden,
        format!(
            "this login may not list the images of the subscription, so {name} cannot be looked up"
        ),
    )
    .with_hint("pass the id of the image: /subscriptions/…/providers/Microsoft.Compute/images/NAME")
    .with_source(refusal)
}

fn by_name(name: &str, images: Vec<Image>) -> Result<Image> {
    let mut found: Vec<Image> = images
        .into_iter()
        .filter(|image| {
            image
                .name
                .as_deref()
                .is_some_and(|own| own.eq_ignore_ascii_case(name))
        })
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(image), true) => Ok(image),
        (None, _) => Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no image named {name} in this subscription"),
        )
        .with_hint("`az image list -o table` lists the images; an image of another subscription needs its id")),
        (Some(last), false) => {
            found.push(last);
            let mut ids: Vec<String> = found
                .iter()
                .filter_map(|image| image.id.as_ref().map(ToString::to_string))
                .collect();
            ids.sort();
            Err(Error::new(
                ErrorKind::Ambiguous,
                format!("there are {} images named {name}: {}", ids.len(), ids.join(", ")),
            )
            .with_hint("pass the id of the one that is meant"))
        }
    }
}

impl From<&UploadedImage> for ImageReference {
    fn from(image: &UploadedImage) -> Self {
        Self::Id(image.id.clone())
    }
}

impl From<ResourceId> for ImageReference {
    fn from(id: ResourceId) -> Self {
        Self::Id(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(group: &str, name: &str) -> Image {
        Image {
            id: Some(ResourceId::new("s", group, IMAGES, name)),
            name: Some(name.to_owned()),
            ..Image::default()
        }
    }

    #[test]
    fn a_name_must_mean_one_image() {
        let images = || vec![image("b", "web"), image("a", "WEB"), image("a", "db")];
        assert_eq!(by_name("DB", images()).unwrap().name.as_deref(), Some("db"));
        assert!(by_name("mail", images()).unwrap_err().is_not_found());
        let error = by_name("web", images()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ambiguous);
        let text = error.to_string();
        assert!(
            text.contains("/resourceGroups/a/") && text.contains("/resourceGroups/b/"),
            "{text}"
        );
    }

    #[test]
    fn what_begins_with_a_slash_is_an_id() {
        assert!(matches!(
            ImageReference::parse("web").unwrap(),
            ImageReference::Name(_)
        ));
        assert!(ImageReference::parse("/web").is_err());
        assert!(ImageReference::parse(" ").is_err());
    }
}
