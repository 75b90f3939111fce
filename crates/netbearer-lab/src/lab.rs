use crate::{AccessPoint, AccessPointPlan, LabError, Namespace, requirements};

/// A machine and its access points. All of it is gone when this value is dropped or its process ends.
#[derive(Debug)]
pub struct Lab {
    access_points: Vec<AccessPoint>,
    machine: Namespace,
}

impl Lab {
    /// A lab without access points, to begin with.
    pub fn builder() -> LabBuilder {
        LabBuilder { plans: Vec::new(), reverse_path_filter: 2, own_files: false, witnesses: true }
    }

    /// The namespace the code under test is to run in.
    #[must_use]
    pub fn machine(&self) -> &Namespace {
        &self.machine
    }

    /// All access points, in the order they were planned.
    #[must_use]
    pub fn access_points(&self) -> &[AccessPoint] {
        &self.access_points
    }

    /// The access point of that name.
    ///
    /// # Errors
    /// [`LabError::UnknownAccessPoint`].
    pub fn access_point(&self, name: &str) -> Result<&AccessPoint, LabError> {
        self.access_points.iter().find(|access_point| access_point.name() == name).ok_or_else(|| {
            let known: Vec<_> = self.access_points.iter().map(AccessPoint::name).collect();
            LabError::UnknownAccessPoint { name: name.to_owned(), known: known.join(", ") }
        })
    }
}

/// How a [`Lab`] is to be built.
#[derive(Clone, Debug)]
#[must_use]
pub struct LabBuilder {
    plans: Vec<AccessPointPlan>,
    reverse_path_filter: u8,
    own_files: bool,
    witnesses: bool,
}

impl LabBuilder {
    /// Adds an access point.
    pub fn access_point(mut self, plan: AccessPointPlan) -> Self {
        self.plans.push(plan);
        self
    }

    /// The reverse-path filter of the machine's cards (`rp_filter` of the kernel's `ip-sysctl`): 0 none, 1 strict, 2
    /// loose, as systemd sets it and by default.
    pub fn reverse_path_filter(mut self, filter: u8) -> Self {
        self.reverse_path_filter = filter;
        self
    }

    /// Gives the machine [files of its own](Namespace::with_own_files), so that network managers can run on it.
    pub fn own_files(mut self) -> Self {
        self.own_files = true;
        self
    }

    /// Does without the programs that tests look at it with, so that nothing need be installed.
    pub fn without_witnesses(mut self) -> Self {
        self.witnesses = false;
        self
    }

    /// Builds it. Returns when every server answers.
    ///
    /// # Errors
    /// What [`requirements`] says, or what could not be built.
    pub fn build(self) -> Result<Lab, LabError> {
        if self.witnesses {
            requirements()?;
        }
        let create = if self.own_files { Namespace::with_own_files } else { Namespace::new };
        let machine = create("machine")?;
        // Cards get it when they are plugged.
        machine.set_sysctl("net/ipv4/conf/default/rp_filter", &self.reverse_path_filter.to_string())?;
        let access_points = (0..)
            .zip(self.plans)
            .map(|(number, plan)| AccessPoint::build(plan, number, &machine))
            .collect::<Result<_, _>>()?;
        Ok(Lab { access_points, machine })
    }
}
